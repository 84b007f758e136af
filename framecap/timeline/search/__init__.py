"""Captions found by their words: an SQLite index in a cache folder, made of the sidecars alone."""
