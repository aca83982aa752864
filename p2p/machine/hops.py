"""When one inference passed which step in this process: where the time to its first token goes.

Law: costs a microsecond a step, and keeps the newest inferences only. The clock is the machine's monotonic one, so
marks of several processes of one machine can be put in one row (testnet/hops.py).
"""

from __future__ import annotations

import time
from collections import OrderedDict

from p2p.base.limits import MAX_KEPT_HOPS


class Hops:
    """One per process."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, dict[str, int]] = OrderedDict()

    def mark(self, inference_id: bytes, step: str) -> None:
        """The inference passes `step` now. A step counts the first time."""
        steps = self._of.get(inference_id)
        if steps is None:
            steps = self._of[inference_id] = {}
            if len(self._of) > MAX_KEPT_HOPS:
                self._of.popitem(last=False)
        steps.setdefault(step, time.monotonic_ns())

    def of(self, inference_id: bytes) -> dict[str, int]:
        """Step -> nanoseconds of the monotonic clock, in order; empty for an inference that is not kept."""
        return dict(self._of.get(inference_id, {}))
