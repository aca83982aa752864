"""p2p.gossipsub: see README.md in this folder."""
