"""Errors by whose fault they are. Law: every error names the field it is about and says what to do.

`code` is stable and goes over the wire; `field` names the offending field ("" when none applies).
"""

from __future__ import annotations


def unsupported_version(what: str, found: object, ours: int) -> str:
    """The sentence for bytes of another version. what: "protocol", "proof", ...; found: the version they name."""
    return f"{what} version {str(found)[:20]} is not supported; this peer uses version {ours}"


class FolkmootError(Exception):
    """Base of every error this package raises on purpose.

    code: stable machine-readable name. field: the offending field. message: a sentence for a person.
    """

    code = "error"
    exit_status = 1
    http_status = 500

    def __init__(self, message: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequest(FolkmootError):
    """A client's request breaks a rule; the client can mend it."""

    code = "invalid_request"
    exit_status = 2
    http_status = 400


class RemoteProtocolError(FolkmootError):
    """A peer sent bytes that break the protocol. penalty: points taken from its score."""

    code = "remote_protocol"
    exit_status = 3
    http_status = 502

    def __init__(self, message: str, *, field: str = "", code: str | None = None, penalty: int = 10) -> None:
        super().__init__(message, field=field, code=code)
        self.penalty = penalty


class LocalProtocolError(FolkmootError):
    """Our own code asked for something the protocol forbids: a bug here."""

    code = "local_protocol"
    exit_status = 70


class Overloaded(FolkmootError):
    """A queue is full or a limit reached; try again later or elsewhere. retry_after: heights until it can help; 0 = not known."""

    code = "overloaded"
    exit_status = 4
    http_status = 429

    def __init__(self, message: str, *, field: str = "", code: str | None = None, retry_after: int = 0) -> None:
        super().__init__(message, field=field, code=code)
        self.retry_after = retry_after


class Unavailable(FolkmootError):
    """A part that is needed does not answer: engine down, peer silent, connection lost."""

    code = "unavailable"
    exit_status = 5
    http_status = 503


class StorageError(FolkmootError):
    """The store cannot be opened or written (locked, full, damaged). The peer halts rather than go on unsure."""

    code = "storage"
    exit_status = 6


class ConfigError(FolkmootError):
    """Configuration or command line is wrong."""

    code = "config"
    exit_status = 2
    http_status = 400
