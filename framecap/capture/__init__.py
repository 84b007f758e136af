"""Cameras and files in, frames in the store out: one child process per camera reads, this process supervises and stores."""
