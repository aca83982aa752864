"""p2p.connections: see README.md in this folder."""
