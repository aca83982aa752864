"""Error types, one for each party that can be at fault: client, remote peer, our own code, storage, configuration.

Law: every error names the field it is about, and its message says what was wrong, what is allowed and what to do.
"""

from __future__ import annotations


def unsupported_version(what: str, found: object, ours: int) -> str:
    """The sentence for bytes of another version. what: "protocol", "proof", ...; found: the version they name."""
    return f"{what} version {str(found)[:20]} is not supported; this peer uses version {ours}"


class FolkmootError(Exception):
    """Base of every error that this package raises on purpose.

    message: a sentence for a person. field: the field it is about, "" where there is none.
    """

    code = "error"  # stable name for programs; travels over the wire
    exit_status = 1  # of the command that ends with it
    http_status = 500  # of the HTTP answer that reports it

    def __init__(self, message: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequest(FolkmootError):
    """A client's request breaks a rule, and the client can correct it."""

    code = "invalid_request"
    exit_status = 2
    http_status = 400


class RemoteProtocolError(FolkmootError):
    """A peer sent bytes that break the protocol. penalty: points added to its score, of which
    100 ban it (gossip/connections/score.py)."""

    code = "remote_protocol"
    exit_status = 3
    http_status = 502

    def __init__(self, message: str, *, field: str = "", code: str | None = None, penalty: int = 10) -> None:
        super().__init__(message, field=field, code=code)
        self.penalty = penalty


class LocalProtocolError(FolkmootError):
    """Our own code asked for something that the protocol forbids: a bug in this program."""

    code = "local_protocol"
    exit_status = 70


class Overloaded(FolkmootError):
    """A queue is full or a limit is reached; the caller can try again later, or elsewhere.

    retry_after: heights after which it makes sense to try again; 0 = not known.
    """

    code = "overloaded"
    exit_status = 4
    http_status = 429

    def __init__(self, message: str, *, field: str = "", code: str | None = None, retry_after: int = 0) -> None:
        super().__init__(message, field=field, code=code)
        self.retry_after = retry_after


class Unavailable(FolkmootError):
    """Something that is needed does not answer: the engine is down, a peer is silent, a connection is lost."""

    code = "unavailable"
    exit_status = 5
    http_status = 503


class StorageError(FolkmootError):
    """The store cannot be opened or written: it is locked, full or damaged. The peer halts, so that it signs nothing
    that it could forget."""

    code = "storage"
    exit_status = 6


class ConfigError(FolkmootError):
    """The configuration or the command line is wrong."""

    code = "config"
    exit_status = 2
    http_status = 400
