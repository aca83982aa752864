"""p2p.gateway: see README.md in this folder."""
