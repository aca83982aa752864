"""p2p.inference.torch: see README.md in this folder."""
