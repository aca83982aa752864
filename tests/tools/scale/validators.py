"""What a decision costs among N validators: whole simulated peers with the real consensus core, ledger and store.

Law: one size is one process of its own, with nothing remembered from another; every peer verifies every signature.

"streams" is how votes travel in sets of up to 64 (relays), "mesh" how larger ones do it. In the simulator a message
for the mesh goes straight to everybody, once: in a real one there are as many copies as `gossip.py` counts, and their
hops.
"""

from __future__ import annotations

from multiprocessing import get_context
from typing import NamedTuple

from tests.tools.scale.lifted import lift_validators

SIZES = (16, 64, 100, 128, 256)
DIRECT = 64  # validators up to which votes travel by streams (consensus/relays.py), checked by the test
WAYS = ("streams", "mesh")
_ENOUGH = 256  # about as many validators times heights are measured, but at most _MOST heights
_MOST = 3


class Row(NamedTuple):
    validators: int
    way: str
    delays: float  # one-way, to a decision
    cpu_ms: float  # of each validator, for a decision
    signatures_ms: float  # of these, what the cryptography alone costs here
    bytes: float  # that each validator sends
    frames: float
    certificate: int  # bytes


def ways(count: int) -> tuple[str, ...]:
    """How votes may travel in a set of this size; above DIRECT the peers take the mesh, and both are measured."""
    return WAYS if count > DIRECT else WAYS[:1]


def _run(count: int, way: str) -> Row:
    lift_validators(count)
    import tempfile
    from pathlib import Path

    from tests.tools.bench_consensus import Raw, meter

    heights = max(1, min(_MOST, _ENOUGH // count))
    cost = meter(count, heights, way)
    with tempfile.TemporaryDirectory(prefix="folkmoot-scale-") as folder:
        raw = Raw(Path(folder))
    return Row(
        count, way, cost.delays, cost.cpu_ms, raw.height(count), cost.bytes, cost.frames, cost.certificate,
    )


def measure(count: int, way: str) -> Row:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (count, way))
