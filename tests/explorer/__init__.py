"""Tests of p2p/explorer."""
