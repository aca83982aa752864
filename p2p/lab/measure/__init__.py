"""p2p.lab.measure: see README.md in this folder."""
