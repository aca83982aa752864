"""`python -m p2p.inference.vllm.main ...`: vLLM's own server with two changes. Law: nothing else differs.

Its processes wait for each other without spinning. By default they poll shared memory in a loop for a second after
each message, which takes half a core of two from the model. Here they wait after SPIN_S for the notification that
every message sends anyway. And it computes without matrix tiles (stack/instructions.py). Both changes are made at
module level, because spawned children import this module again.
"""

from __future__ import annotations

import runpy
from typing import Any

from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

from p2p.inference.stack.instructions import without_tiles

SPIN_S = 0.001  # how long a process polls before it waits
_init = SpinCondition.__init__


def _brief(self: Any, is_reader: bool, context: Any, notify_address: str, busy_loop_s: float = 1) -> None:
    _init(self, is_reader, context, notify_address, min(busy_loop_s, SPIN_S))


SpinCondition.__init__ = _brief
without_tiles()

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
