"""Photos and captions in, a model bundle out."""
