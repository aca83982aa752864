"""p2p.wire: see README.md in this folder."""
