"""p2p.chain.chain: see README.md in this folder."""
