"""A network of its own inside this machine: an address for each peer, and what lies between them."""
