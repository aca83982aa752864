"""p2p.gossip.relays: see README.md in this folder."""
