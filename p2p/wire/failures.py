"""Errors as frames, and back. Law: whoever asked gets an error of the type, field and sentence that the other side
raised."""

from __future__ import annotations

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.limits import MAX_NAME, MAX_REASON
from p2p.wire.frames import Failure

_BY_CODE: dict[str, type[FolkmootError]] = {
    kind.code: kind for kind in (InvalidRequest, RemoteProtocolError, Overloaded, Unavailable)
}


def failure(error: FolkmootError) -> Failure:
    """The frame that reports an error to the other side, cut to the limits of its fields."""
    wait = error.retry_after if isinstance(error, Overloaded) else 0
    return Failure(error.code[:MAX_NAME], error.field[:MAX_NAME], error.message[:MAX_REASON], wait)


def raise_failure(frame: Failure) -> None:
    """Raises the error that the other side reported, as the same type where its code is known."""
    kind = _BY_CODE.get(frame.code, InvalidRequest if frame.field else Unavailable)
    error = kind(frame.message, field=frame.field, code=frame.code)
    if isinstance(error, Overloaded):
        error.retry_after = frame.retry_after
    raise error
