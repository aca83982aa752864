"""How cost grows with the number of validators, gossip peers and participants: see docs/scale.md."""
