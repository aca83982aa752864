"""`make mutants`: removes one safeguard at a time and sees a test fail."""
