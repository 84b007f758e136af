"""Tests of the room that measures."""
