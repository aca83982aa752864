"""What the paper takes from measurements: the figures of one run of `make scale`, and one of `make bench-gossip`.

Law: nothing here is computed. docs/scale.md shows the printed run, and a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

By = Mapping[int, float]  # by the number of validators or participants

# a decision, votes by the mesh as a peer does it above 64: CPU ms and bytes sent of each validator
MESH_CPU_MS: By = {100: 51.3, 128: 67.1}
MESH_BYTES: By = {100: 45_704, 128: 58_488}
# the same by streams, at the largest size that was run
STREAMS, STREAMS_CPU_MS, STREAMS_BYTES = 512, 168.4, 163_007.0
# a message of gossip, 1,000 peers: copies that each peer sends, and what control messages add
COPIES, CONTROL = 5.94, 0.094
# CPU of a real peer for a delivered message of 300 bytes, 400 of them a second (docs/gossip-evidence.md)
GOSSIP_MS = 0.692
# an inference on a real chain: Start, Finish, Output with their signatures
INFERENCE_US = 487.0
# the ledger, by participants
STATE_KB: By = {100: 83, 1_000: 826, 10_000: 8260, 100_000: 82_600}
TREE_KB: By = {100: 57, 1_000: 555, 10_000: 5505, 100_000: 54_864}
PROOF: By = {100: 348, 1_000: 482, 10_000: 576, 100_000: 717}
PREPARE_MS: By = {100: 0.5, 1_000: 5.0, 10_000: 45.4, 100_000: 795.7}
OPEN_US: By = {100: 51, 1_000: 50, 10_000: 59, 100_000: 151}
CLOSE_US: By = {100: 970, 1_000: 1230, 10_000: 3133, 100_000: 60_439}
SETTLE_MS: By = {100: 5.3, 1_000: 44.4, 10_000: 462.1, 100_000: 5997.9}
SETS_MS: By = {100: 0.8, 1_000: 4.4, 10_000: 7.6, 100_000: 125.3}
SPRINT_MS: By = {100: 10.2, 1_000: 135.4, 10_000: 1804.1}
TREE_MS: By = {100: 3.5, 1_000: 33.0, 10_000: 214.5, 100_000: 2821.5}
SNAPSHOT_MS: By = {100: 3.8, 1_000: 36.4, 10_000: 437.0, 100_000: 5020.3}
SNAPSHOT_KB: By = {100: 96, 1_000: 951, 10_000: 8591, 100_000: 85_809}
CONDUCT_LINE_US, CONDUCT_SQUARE_NS = 654.0, 1262.0  # the end of an epoch's conduct: line x N + square x N^2


def at(table: By, size: float) -> float:
    """A figure at a size between those that were run: a straight line between logarithms, continued at the ends."""
    sizes = sorted(table)
    high = next((s for s in sizes[1:] if s >= size), sizes[-1])
    low = sizes[sizes.index(high) - 1]
    power = math.log(table[high] / table[low]) / math.log(high / low)
    return float(table[low] * (size / low) ** power)
