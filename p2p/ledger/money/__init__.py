"""p2p.ledger.money: see README.md in this folder."""
