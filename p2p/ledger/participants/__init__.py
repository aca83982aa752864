"""p2p.ledger.participants: see README.md in this folder."""
