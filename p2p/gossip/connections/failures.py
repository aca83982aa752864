"""Turns the error of a failed dial into a sentence for the user.

Law: each cause has its own sentence, which says what was found at the address and what to look at.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import trio

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.limits import DIAL_TIMEOUT_S

NO_ROOM = "every place for connections is taken, or every one for that address group"
NOT_ON_ITS_WORD = "is not dialled, because only another peer named it"  # of a ConnectionRefusedError of reach.py
_MAX_CAUSES = 64  # errors of one chain that are looked at
_ROUTES = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)


def explain(error: BaseException, peer: str, addresses: tuple[str, ...]) -> FolkmootError:
    """The typed error for a dial of `addresses` of `peer` that ended with `error`; `error` itself if it is typed."""
    if isinstance(error, FolkmootError):
        return error
    at = ", ".join(addresses)
    causes = list(_causes(error))
    text = " ".join(str(cause) for cause in causes).lower()
    names = " ".join(type(cause).__name__ for cause in causes)
    refused = [c for c in causes if isinstance(c, ConnectionRefusedError)]
    if "mismatch" in text or "mismatch" in names.lower() or "does not match" in text:
        return _unavailable(
            f"another peer than {peer} answers at {at}: check the peer id in the address", "other_peer",
        )
    if any(NOT_ON_ITS_WORD in str(c) for c in refused):
        return _unavailable(f"{at} {NOT_ON_ITS_WORD} (rule REACH-2)", "not_dialled")
    if NO_ROOM in text:
        return _unavailable(f"{NO_ROOM}: {peer} at {at} is not connected", "full")
    if refused:
        return _unavailable(f"nobody listens at {at} (connection refused): check that the peer is running", "refused")
    if any(isinstance(c, OSError) and c.errno in _ROUTES for c in causes):
        return _unavailable(
            f"there is no route to {at}: this machine has no network, or none that leads there", "no_route",
        )
    if any(isinstance(c, trio.TooSlowError | TimeoutError) for c in causes) and "upgrade" not in text:
        return _unavailable(
            f"no answer from {at} in {DIAL_TIMEOUT_S:g} s: check the address, and firewalls on the way", "timeout",
        )
    if "closed" in text or "reset" in text or "incompleteread" in names.lower():
        return _unavailable(
            f"{at} ended the connection before it was secured: it is full, or it is not a libp2p peer", "no_handshake",
        )
    if "upgrade" in text or "multiselect" in names.lower() or "security" in text:
        return _unavailable(
            f"what listens at {at} is not a libp2p peer, or supports no security protocol of ours", "not_libp2p",
        )
    return _unavailable(f"cannot connect to {peer} at {at}: {names.split(' ', maxsplit=1)[0]}", "dial")


def own_key() -> Unavailable:
    """The error for an address with our own peer id."""
    return Unavailable(
        "this address names our own key: it is this peer itself, or a copy of its folder runs there",
        field="peer", code="own_key",
    )


def _unavailable(message: str, code: str) -> Unavailable:
    return Unavailable(message, field="peer", code=code)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all errors it came from or contains, each once."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo and len(seen) < _MAX_CAUSES:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        todo += [e for e in getattr(one, "exceptions", ()) if isinstance(e, BaseException)]
        arguments = [each for arg in one.args for each in (arg if isinstance(arg, list | tuple) else (arg,))]
        todo += [e for e in arguments if isinstance(e, BaseException)]
