"""p2p.store: see README.md in this folder."""
