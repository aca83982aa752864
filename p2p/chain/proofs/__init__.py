"""p2p.chain.proofs: see README.md in this folder."""
