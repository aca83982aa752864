"""What is asked of the scheduler, and what it answers. Law: data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """For whom a job is; the smaller goes first."""

    OWN = 0  # clients of the peer's owner
    PAID = 1  # clients of other peers
    VALIDATION = 2  # a check this peer was drawn for
    SPRINT = 3  # an answer of the sprint


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work for an ML node."""

    kind: Kind
    model: str
    prompt_tokens: int  # read at most, an answer that is checked included
    max_tokens: int = 0  # made at most
    account: bytes = b""  # who pays: accounts share a model's ML nodes
    session: bytes = b""  # jobs of one account's session find each other's prefix cache; b"": none
    begin_by: float | None = None  # seconds on the caller's clock; a check that has not begun by then comes too late

    @property
    def tokens(self) -> int:
        """The most it may use."""
        return self.prompt_tokens + self.max_tokens


@dataclass(frozen=True, slots=True)
class Placed:
    """It runs now, and counts as running until `ended(ticket)`."""

    ticket: int
    node: str  # name of the ML node


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits. `tick` will say Placed or Busy of its ticket."""

    ticket: int
    wait_s: float  # expected; 0: not known


@dataclass(frozen=True, slots=True)
class Busy:
    """It is not done here now."""

    ticket: int  # of the job, which is worth nothing any more; 0 where it got none
    retry_after_s: int  # after which there may be a place; 0: never here
    reason: str  # a sentence for whoever asked


Outcome = Placed | Queued | Busy
