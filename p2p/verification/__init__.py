"""p2p.verification: see README.md in this folder."""
