"""p2p.gossip.connections: see README.md in this folder."""
