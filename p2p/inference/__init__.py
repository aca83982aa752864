"""p2p.inference: see README.md in this folder."""
