"""Tests of p2p/gossipsub."""
