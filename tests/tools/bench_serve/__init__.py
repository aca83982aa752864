"""`make bench-serve`: what the network adds to a vLLM, over HTTP as tools ask. See __main__.py."""
