"""p2p.gossip.discovery: see README.md in this folder."""
