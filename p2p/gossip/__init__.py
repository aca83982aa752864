"""p2p.gossip: see README.md in this folder."""
