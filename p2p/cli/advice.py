"""What a user does about an error that a peer or the ledger words: one sentence for the field that it names.

Law: pure; about fields whose errors are made where no command is known.
"""

from __future__ import annotations

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest

_ADVICE = {
    "balance": "somebody who has credits pays it with: folkmoot account transfer ACCOUNT AMOUNT "
               "(folkmoot account show names this account)",
}


def advised(error: FolkmootError) -> str:
    """The error's sentence, and what to do where that is known."""
    more = _ADVICE.get(error.field) if isinstance(error, InvalidRequest) else None
    if isinstance(error, ConfigError) and error.field == "key" and "No such file" in error.message:
        more = "name the folder by --dir, or make one with: folkmoot join NETWORK --dir DIR"
    return f"{error}; {more}" if more else str(error)
