"""Bytes to pixels: the only decoder of capture and worker."""
