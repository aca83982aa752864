"""p2p.gateway.http: see README.md in this folder."""
