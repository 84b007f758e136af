"""train/: photos and captions in, a bundle out."""
