"""Leases in, committed sidecars out."""
