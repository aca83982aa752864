"""Which conduct pays: agents with strategies against the ledger's own code. Law: the ledger decides every coin; here is only who does what,
what it costs them, and how likely a check sees it (from the verification table).
"""
