"""What the explorer remembers of blocks, and what it counts of hosts."""

from __future__ import annotations

import pytest

from p2p.explorer.history import History
from p2p.explorer.hosts import hosts, streams
from p2p.wire.answers.blocks import BlockAnswer
from p2p.wire.answers.inferences import InferenceAnswer
from tests.explorer.scripted import NODES, PAYER, Scripted


async def told(source: Scripted, history: History, last: int | None = None) -> History:
    """A history that has read the network."""
    for height in range(1, (last or source.tops) + 1):
        block = await source.ask(BlockAnswer, {"op": "block", "height": height})
        history.add_block(block, [NODES[0].hex()], [node.hex() for node in NODES[:2]])
    for name in source.stories:
        history.add_inference(await source.ask(InferenceAnswer, {"op": "inference", "id": name}))
    return history


async def test_blocks_come_newest_first_in_pages_without_a_gap() -> None:
    history = await told(Scripted(tops=10, asked=0), History())
    first = history.blocks(None, 4)
    assert [row.height for row in first.blocks] == [10, 9, 8, 7]
    then = history.blocks(first.next, 4)
    last = history.blocks(then.next, 4)
    assert [row.height for row in (*then.blocks, *last.blocks)] == [6, 5, 4, 3, 2, 1]
    assert last.next is None


async def test_the_oldest_blocks_and_their_signatures_are_forgotten() -> None:
    history = await told(Scripted(tops=12, asked=0), History(blocks=5))
    assert (history.first, history.top) == (8, 12)
    assert history.signed(NODES[0].hex()) == (5, 5)
    assert history.signed(NODES[1].hex()) == (0, 5)
    assert history.time_of(7) == 0


async def test_the_oldest_inferences_are_forgotten() -> None:
    source = Scripted(tops=60, asked=10)
    history = await told(source, History(inferences=4))
    assert [row.id for row in history.inferences(None, 25).inferences] == list(source.stories)[:-5:-1]
    assert not history.add_inference(source.stories[next(iter(source.stories))])


async def test_an_inference_has_its_records_and_only_a_new_status_is_news() -> None:
    source = Scripted(tops=30, asked=3)
    history = await told(source, History())
    name = next(iter(source.stories))
    seen = history.seen(name)
    assert seen is not None
    assert [(step.kind, step.count) for step in seen.steps] == [("START", 1), ("FINISH", 1), ("OUTPUT", 1),
                                                                ("VERDICT", 3)]
    assert not history.add_inference(source.stories[name])


@pytest.mark.parametrize(("status", "count"), [("VALIDATED", 4), ("open", 8), ("", 24), ("UPHELD", 2)])
async def test_inferences_are_chosen_by_status(status: str, count: int) -> None:
    history = await told(Scripted(), History())
    assert len(history.inferences(None, 100, status).inferences) == count


async def test_inferences_are_chosen_by_account_and_by_whoever_had_a_part() -> None:
    history = await told(Scripted(), History())
    assert len(history.inferences(None, 100, account=PAYER.hex()).inferences) == 24
    assert history.inferences(None, 100, account="00" * 32).inferences == ()
    checked = history.inferences(None, 100, node=NODES[5].hex()).inferences
    assert 0 < len(checked) < 24


async def test_hosts_are_counted_from_what_the_chain_says() -> None:
    source = Scripted()
    history = await told(source, History())
    rows = {row.node: row for row in hosts(history, {}, {NODES[0].hex(): (9, 7)}).hosts}
    for node, row in rows.items():
        mine = [one for one in source.stories.values() if one.executor == node]
        assert row.finished == len(mine)
        assert row.stood == sum(one.status in ("VALIDATED", "SETTLED", "UPHELD") for one in mine)
        assert row.refused == sum(one.status == "INVALIDATED" for one in mine)
        assert row.verdicts == sum(v.validator == node for one in source.stories.values() for v in one.verdicts)
    assert (rows[NODES[0].hex()].looks, rows[NODES[0].hex()].answered) == (9, 7)
    assert (rows[NODES[1].hex()].signed, rows[NODES[1].hex()].could_sign) == (0, 60)
    assert any(row.chain_tokens_a_second for row in rows.values())


async def test_streams_are_counted_by_way_and_those_that_run_apart() -> None:
    source = Scripted()
    found = streams(await told(source, History()))
    answers = [row for row in found if row.kind == "answer"]
    assert sum(row.count for row in answers) == 24
    assert sum(row.running for row in answers) == 8
    assert all(row.running <= row.count for row in found)
