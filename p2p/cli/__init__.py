"""p2p.cli: see README.md in this folder."""
