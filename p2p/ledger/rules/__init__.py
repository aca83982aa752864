"""p2p.ledger.rules: see README.md in this folder."""
