"""Sidecars in, things to read out."""
