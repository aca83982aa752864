"""Hostile strangers against a real network of five peers: `make redteam`. Law: one attack a file in strangers/; real
peers, real libp2p; the ML node alone is the named fake."""
