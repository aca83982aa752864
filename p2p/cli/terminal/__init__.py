"""p2p.cli.terminal: see README.md in this folder."""
