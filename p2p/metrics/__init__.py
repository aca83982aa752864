"""p2p.metrics: see README.md in this folder."""
