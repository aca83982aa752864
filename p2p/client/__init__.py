"""p2p.client: see README.md in this folder."""
