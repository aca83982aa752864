"""p2p.scheduling: see README.md in this folder."""
