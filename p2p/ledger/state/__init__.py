"""p2p.ledger.state: see README.md in this folder."""
