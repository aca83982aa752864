"""Which epoch a height belongs to. Law: heights alone; nothing of the state."""

from __future__ import annotations

from p2p.base.genesis import Genesis


def epoch_of(genesis: Genesis, height: int) -> int:
    """Heights 1..E are epoch 0."""
    return max(height - 1, 0) // genesis.epoch_blocks


def next_end(genesis: Genesis, height: int) -> int:
    """The last height of the epoch after that of `height`."""
    return (epoch_of(genesis, height) + 2) * genesis.epoch_blocks
