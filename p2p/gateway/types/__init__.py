"""p2p.gateway.types: see README.md in this folder."""
