"""p2p.chain.views: see README.md in this folder."""
