"""Sidecars in; files that other programs read out: subtitles, tables, and pictures with their captions."""
