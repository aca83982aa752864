"""p2p.chain.chain.stores: see README.md in this folder."""
