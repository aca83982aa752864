"""`python -m p2p.inference.vllm.main ...`: vLLM's own server, whose processes wait for each other without spinning and compute without matrix
tiles. Law: nothing else differs.

vLLM's processes poll shared memory in a loop for a second after each message, which on a machine with few cores takes from the model what it needs:
here half a core of two, for nothing. After SPIN_S they wait for the notification that every message sends anyway. At module level,
for spawned children import this module again.
"""

from __future__ import annotations

import runpy
from typing import Any

from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

from p2p.inference.stack.instructions import without_tiles

SPIN_S = 0.001
_init = SpinCondition.__init__


def _brief(self: Any, is_reader: bool, context: Any, notify_address: str, busy_loop_s: float = 1) -> None:
    _init(self, is_reader, context, notify_address, min(busy_loop_s, SPIN_S))


SpinCondition.__init__ = _brief
without_tiles()

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
