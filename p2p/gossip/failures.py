"""Why a dial failed, in words. Law: each cause has a sentence of its own that says what was found there and what to look at."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import trio

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.limits import DIAL_TIMEOUT_S

NO_ROOM = "there are connections enough, or enough of that network"
_ROUTES = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)


def explain(error: BaseException, peer: str, addresses: tuple[str, ...]) -> FolkmootError:
    """The typed error for a dial of `addresses` that ended with `error`."""
    if isinstance(error, FolkmootError):
        return error
    at = ", ".join(addresses)
    causes = list(_causes(error))
    text = " ".join(str(cause) for cause in causes).lower()
    names = " ".join(type(cause).__name__ for cause in causes)
    refused = [c for c in causes if isinstance(c, ConnectionRefusedError)]
    if "mismatch" in text or "mismatch" in names.lower() or "does not match" in text:
        return _unavailable(f"another peer answers at {at}, not {peer}: is the peer id in the address still right?", "other_peer")
    if any("another peer's word" in str(c) for c in refused):
        return _unavailable(f"{at} is not an address that another peer may send us to", "not_dialled")
    if NO_ROOM in text:
        return _unavailable(f"{NO_ROOM}: {peer} at {at} is not connected", "full")
    if refused:
        return _unavailable(f"nobody listens at {at} (connection refused): is the peer running?", "refused")
    if any(isinstance(c, OSError) and c.errno in _ROUTES for c in causes):
        return _unavailable(f"there is no route to {at}", "no_route")
    if any(isinstance(c, trio.TooSlowError | TimeoutError) for c in causes) and "upgrade" not in text:
        return _unavailable(f"no answer from {at} in {DIAL_TIMEOUT_S:g} s: is the address right, and no firewall between?", "timeout")
    if "closed" in text or "reset" in text or "incompleteread" in names.lower():
        return _unavailable(
            f"{at} ended the connection before it was secured: it is full, or it is no libp2p peer", "no_handshake"
        )
    if "upgrade" in text or "multiselect" in names.lower() or "security" in text:
        return _unavailable(f"what listens at {at} is no libp2p peer, or speaks no security that we do", "not_libp2p")
    return _unavailable(f"cannot connect to {peer} at {at}: {names.split(' ', maxsplit=1)[0]}", "dial")


def _unavailable(message: str, code: str) -> Unavailable:
    return Unavailable(message, field="peer", code=code)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it came from, groups opened, each once."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo and len(seen) < 64:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        todo += [e for e in getattr(one, "exceptions", ()) if isinstance(e, BaseException)]
        todo += [e for arg in one.args for e in (arg if isinstance(arg, list | tuple) else (arg,)) if isinstance(e, BaseException)]
