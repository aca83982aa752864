"""p2p.peer: see README.md in this folder."""
