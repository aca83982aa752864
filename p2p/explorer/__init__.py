"""p2p.explorer: see README.md in this folder."""
