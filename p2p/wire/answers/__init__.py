"""p2p.wire.answers: see README.md in this folder."""
