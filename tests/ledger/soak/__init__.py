"""A long random run of the ledger: see __main__.py."""
