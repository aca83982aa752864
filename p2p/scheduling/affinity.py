"""Which ML node served a session last: its prefix cache holds what the next turn repeats. Law: bounded; the session
used longest ago is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from p2p.base.serving_limits import MAX_AFFINE
from p2p.scheduling.jobs import Job


@dataclass(slots=True)
class Affinity:
    """One per scheduler. A session is its account's: nobody steers another's."""

    most: int = MAX_AFFINE
    _node: OrderedDict[tuple[bytes, bytes], str] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._node)

    def of(self, job: Job) -> str:
        """The node's name; '' where none is known."""
        return self._node.get((job.account, job.session), "") if job.session else ""

    def note(self, job: Job, node: str) -> None:
        if not job.session:
            return
        self._node[job.account, job.session] = node
        self._node.move_to_end((job.account, job.session))
        if len(self._node) > self.most:
            self._node.popitem(last=False)
