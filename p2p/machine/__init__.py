"""p2p.machine: see README.md in this folder."""
