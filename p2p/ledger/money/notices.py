"""Notices to an account about its inferences that were not delivered as paid for. Law: only the newest are kept; an
account asks for them.
"""

from __future__ import annotations

from p2p.base.codec import encode, load
from p2p.ledger.state import keys
from p2p.ledger.state.records import MAX_NOTICES, Notice, Notices
from p2p.ledger.state.view import View


def notify(view: View, account: bytes, notice: Notice) -> None:
    """Keep `notice`; the oldest one beyond MAX_NOTICES is dropped."""
    view.put(_key(account), encode(Notices((*notices(view, account), notice)[-MAX_NOTICES:])))


def notices(view: View, account: bytes, since: int = 0) -> tuple[Notice, ...]:
    """Those of heights after `since`, oldest first."""
    raw = view.get(_key(account))
    return tuple(notice for notice in load(Notices, raw).kept if notice.height > since) if raw else ()


def _key(account: bytes) -> bytes:
    return keys.notices(account)
