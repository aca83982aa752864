"""p2p.chain.chain.views: see README.md in this folder."""
