"""p2p.gateway.core: see README.md in this folder."""
