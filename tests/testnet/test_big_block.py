"""Four real peers decide a block that is larger than gossip carries; one of them has to fetch it."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p.base.limits import MAX_BLOCK, MAX_GOSSIP
from testnet import big_block


@pytest.mark.network
def test_a_block_with_500_inferences_is_decided_by_four_peers_of_which_one_hears_no_transactions(
    tmp_path: Path
) -> None:
    found = big_block.run(tmp_path / "net", 500, interval_ms=6000, deaf=True)
    assert found.good, found
    assert MAX_GOSSIP < found.big[0].bytes < MAX_BLOCK
    assert len({row.round for row in found.big}) == 1
    assert [row.fetched for row in found.big[:3]] == [0, 0, 0]
    assert found.big[3].fetched - found.small[3].fetched >= found.big[3].txs - 3
