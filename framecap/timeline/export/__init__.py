"""Sidecars in; files that other programs read out: subtitles, tables, and images with their captions."""
