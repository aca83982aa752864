"""Discovery-only seed peers and the networks they open."""
