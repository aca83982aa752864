"""p2p.chain.chain.proofs: see README.md in this folder."""
