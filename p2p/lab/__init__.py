"""p2p.lab: see README.md in this folder."""
