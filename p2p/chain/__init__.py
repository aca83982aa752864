"""p2p.chain: see README.md in this folder."""
