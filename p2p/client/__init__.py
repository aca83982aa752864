"""p2p.client.ask: see README.md in this folder."""
