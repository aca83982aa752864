"""p2p.base: see README.md in this folder."""
