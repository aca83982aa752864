"""Peers that introduce others (seed.py), and how a file looks that says how to join a network (networks/)."""
