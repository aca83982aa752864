"""The red team in short: strangers, two at a time, against one network of five real peers.

After each pair the chain continues and questions are answered. At the end no honest peer has ended, was banned or
punished, or holds twice the memory. `make redteam` measures each stranger by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net_lab import until
from tests.redteam.field import HONEST, Field, Sample
from tests.redteam.measure import TURNS, Window, banned, figures, punished
from tests.redteam.strangers import NAMES
from tests.redteam.trial import MEMORY

pytestmark = pytest.mark.network
PAIRS = (  # of different kinds, so that neither is in the other's way
    ("signed_extremes", "squatting"), ("told_again", "empty_maps"), ("half_open", "nonce_gaps"),
    ("unfinished_frames", "invented_peers"),
)
REPORTS = 4  # of each stranger, one a second: how long it may do harm
PATIENCE_S = 120.0  # on a machine ten times busier


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    made = Field(tmp_path_factory.mktemp("redteam") / "net")
    try:
        made.open(2.0)
        yield made
    finally:
        made.close()


def good(net: Field) -> int:
    """Questions that were answered right so far."""
    return sum(not answer["error"] for answer in list(net.answers))


def test_no_stranger_stops_the_network_or_turns_it_against_itself(net: Field) -> None:
    until(lambda: good(net) >= 2, PATIENCE_S)
    before, memory = net.conduct(), max(net.samples[-1].rss)
    for pair in PAIRS:
        attackers = [net.attack(name) for name in pair]
        until(lambda attackers=attackers: all(len(one.reports) >= REPORTS for one in attackers), PATIENCE_S)
        for attacker in attackers:
            net.did(attacker)
            net.end(attacker)
        assert not net.died(), pair
        top, answered = max(map(net.height, range(HONEST))), good(net)
        until(lambda top=top: min(map(net.height, range(HONEST))) >= top + 2, PATIENCE_S)
        until(lambda answered=answered: good(net) > answered, PATIENCE_S)
    statuses = [net.status(number) for number in range(HONEST)]
    assert punished(before, net.conduct(), net.nodes()[:HONEST]) == []
    assert banned(statuses, [status["peer_id"] for status in statuses]) == []
    assert max(max(sample.rss) for sample in net.samples) <= MEMORY * memory


def test_every_stranger_has_a_file_and_says_what_it_tries() -> None:
    from importlib import import_module

    files = {path.stem for path in Path(__file__).with_name("strangers").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)
    assert {name for pair in PAIRS for name in pair} <= files
    for name in NAMES:
        module = import_module(f"tests.redteam.strangers.{name}")
        assert len(module.__doc__) > 60
        assert callable(module.attack)


def test_figures_are_of_their_window() -> None:
    samples = [Sample(float(at), (at, 2 * at), (100 + at, 50)) for at in range(10)]
    answers = [{"asked": at, "took_s": at / 10, "error": "" if at % 2 else "late"} for at in range(10)]
    found = figures(samples, answers, Window(2.0, 6.0))
    assert (found.rate, found.asked, found.answered, found.worst_s, found.rss) == (1.0, 4, 0.5, 0.5, 105)
    assert figures(samples[:1], [], Window(0, 1)).rate == 0.0
    still = [*samples[:5], *(Sample(float(at), (4, 8), (1, 1)) for at in range(5, 10))]
    assert figures(still, [], Window(0, 10)).rate == 3 / 8, "a chain that stands still at the end is slower"
    silent = [*samples[:3], Sample(3.0, (-1, 6), (1, 1))]
    assert figures(silent, [], Window(0, 9)).rate == 0.0, "a peer that does not answer has not grown"


def test_the_rate_is_that_of_whole_rotations_wherever_the_window_begins() -> None:
    """Five heights of 0.9 s and one of 3 s, as with five of six validators: two rotations of 7.5 s each, whatever part
    of a third is seen.
    """
    at, beats = 0.0, []
    for height in range(60):
        at += 3.0 if height % TURNS == 0 else 0.9
        beats.append(at)
    samples = [Sample(tick / 20, (sum(beat <= tick / 20 for beat in beats),), (1,)) for tick in range(1400)]
    for begin in range(0, 75, 3):
        assert figures(samples, [], Window(begin / 10, begin / 10 + 20)).rate == pytest.approx(6 / 7.5, rel=0.01)
    cut = [sample for sample in samples if sample.at < 12.0] + [
        Sample(12.0 + tick / 20, samples[239].heights, (1,)) for tick in range(160)
    ]
    assert figures(cut, [], Window(0.0, 20.0)).rate < 0.6, "eight seconds of silence count"


def test_punishments_and_bans_are_told_apart_from_what_was_there_before() -> None:
    before = {"a": {"convicted": False, "strikes": 1}, "b": {"barred": True}}
    after = {"a": {"convicted": True, "strikes": 2}, "b": {"barred": True}, "c": {"convicted": True}}
    assert punished(before, after, ["a", "b"]) == ["a: convicted", "a: strikes"]
    statuses = [{"peer_id": "abcdefgh", "banned": [{"peer": "honest", "why": "x"}, {"peer": "stranger", "why": "y"}]}]
    assert banned(statuses, ["honest"]) == ["cdefgh bans honest: x"]
