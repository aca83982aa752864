"""p2p.grammar: see README.md in this folder."""
