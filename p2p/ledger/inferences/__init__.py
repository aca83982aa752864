"""p2p.ledger.inferences: see README.md in this folder."""
