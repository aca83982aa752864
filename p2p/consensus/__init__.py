"""p2p.consensus: see README.md in this folder."""
