"""Simulated networks that show which conduct pays: strategies played against the ledger's own code. Law: the ledger
moves every coin; this room adds only who does what, what it costs, and how likely a check finds it (from the
verification table).
"""
