"""Settings for all tests.

Law: no test fails because of the time it takes, so a machine ten times busier gives the same answers.

Several workers share the processors, so files that compute and files that wait for live networks are mixed: where all
workers waited at once, processors would be idle, and where all computed, each would take longer. The longest come first
(longest processing time first, Graham 1969), and many short ones are left to fill the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before torch is loaded: a thread for each worker and each engine is enough. vLLM would bind every engine to the same
# processor, because each believes that it is alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

import pytest
import structlog
from hypothesis import settings

from p2p.inference.stack.instructions import without_tiles
from tests import warm

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
without_tiles()
warm.install()


@pytest.fixture(autouse=True)
def logs_as_at_first() -> Iterator[None]:
    """A command that a test runs in this process sets the level of the log; the next test starts without it."""
    yield
    structlog.reset_defaults()


# the longest files, those that compute and those that wait in turns: each worker takes the next one that is left
FIRST = (
    "tools/test_clients_matrix.py", "peer/test_behind_nat.py", "inference/vllm/test_vllm.py", "redteam/test_redteam.py",
    "lab/measure/test_measure.py", "peer/test_joining_net.py", "sim/test_sim.py", "peer/test_sprint_net.py",
    "inference/vllm/test_serve_model.py", "gossip/relays/test_relays_net.py", "lab/economy/test_world.py",
    "peer/test_main_path.py", "inference/torch/test_engine.py", "joining/test_join_net.py",
)
WAITS = "network"  # a mark
SPREAD = 0.8  # of the run: files that wait are spread over it, so that none begins at its very end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort whole files: FIRST, then the others, mixed. The order within a file does not change."""
    waits: dict[str, bool] = {}
    for item in items:
        file = str(item.path)
        waits[file] = waits.get(file, False) or item.get_closest_marker(WAITS) is not None
    place = {file: at / len(FIRST) - 1 for file in waits for at, name in enumerate(FIRST) if file.endswith(name)}
    for kind, spread in ((True, SPREAD), (False, 1.0)):
        others = [file for file, found in waits.items() if found is kind and file not in place]
        place |= {file: spread * at / len(others) for at, file in enumerate(others)}
    items.sort(key=lambda item: place[str(item.path)])
