"""The simulator of the gossip router."""
