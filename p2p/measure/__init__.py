"""p2p.measure: see README.md in this folder."""
