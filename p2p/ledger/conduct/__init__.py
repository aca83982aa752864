"""p2p.ledger.conduct: see README.md in this folder."""
