"""Cameras and files in, frames in the store out."""
