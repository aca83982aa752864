"""Deterministic simulator of whole peers: see README.md in this folder."""
