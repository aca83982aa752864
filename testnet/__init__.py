"""Test networks: generate, run, perturb, check."""
