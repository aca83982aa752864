"""p2p.gateway.adapters: see README.md in this folder."""
