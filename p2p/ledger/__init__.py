"""p2p.ledger: see README.md in this folder."""
