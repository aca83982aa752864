"""p2p.chain.stores: see README.md in this folder."""
