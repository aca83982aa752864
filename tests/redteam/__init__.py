"""Hostile strangers against a real network of five peers: `make redteam`.

Law: one attack a file, in strangers/; peers and libp2p are real, only the ML node is the named fake.
"""
