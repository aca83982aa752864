"""Which epoch a height belongs to. Law: arithmetic on heights; no state."""

from __future__ import annotations

from p2p.base.genesis import Genesis


def epoch_of(genesis: Genesis, height: int) -> int:
    """Epoch 0 is heights 1 to E, epoch 1 heights E + 1 to 2 E, ... (E: epoch_blocks). Height 0, the first state,
    counts to epoch 0."""
    return max(height - 1, 0) // genesis.epoch_blocks


def next_end(genesis: Genesis, height: int) -> int:
    """The last height of the epoch that follows that of `height`."""
    return (epoch_of(genesis, height) + 2) * genesis.epoch_blocks
