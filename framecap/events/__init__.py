"""Captions in, events out: rules say which, and what to do; nothing is lost when this process or an endpoint dies."""
