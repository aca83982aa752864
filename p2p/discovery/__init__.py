"""p2p.discovery: see README.md in this folder."""
