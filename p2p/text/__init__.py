"""p2p.text: see README.md in this folder."""
