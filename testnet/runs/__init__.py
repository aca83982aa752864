"""One run of a test network, from its manifest to its result."""
