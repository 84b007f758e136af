"""A store in, the live web page over it out."""
