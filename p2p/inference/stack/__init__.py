"""p2p.inference.stack: see README.md in this folder."""
