"""Which ML node served a session last: its prefix cache holds what the next turn repeats. Law: bounded; the session
used longest ago is forgotten first, and one that is over is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from p2p.base.serving_limits import AFFINE_S, MAX_AFFINE
from p2p.scheduling.jobs import Job


class _Served(NamedTuple):
    node: str
    at: float  # seconds


@dataclass(slots=True)
class Affinity:
    """One per scheduler. A session is its account's: nobody steers another's."""

    most: int = MAX_AFFINE
    _served: OrderedDict[tuple[bytes, bytes], _Served] = field(default_factory=OrderedDict)  # the latest one last

    def __len__(self) -> int:
        return len(self._served)

    def of(self, job: Job) -> str:
        """The node's name; '' where none is known."""
        found = self._served.get((job.account, job.session)) if job.session else None
        return found.node if found is not None else ""

    def note(self, job: Job, node: str, now: float) -> None:
        if not job.session:
            return
        self._served[job.account, job.session] = _Served(node, now)
        self._served.move_to_end((job.account, job.session))
        if len(self._served) > self.most:
            self._served.popitem(last=False)

    def forget(self, now: float) -> None:
        """Those that were not used for AFFINE_S."""
        while self._served:
            key = next(iter(self._served))
            if now - self._served[key].at < AFFINE_S:
                return
            del self._served[key]
