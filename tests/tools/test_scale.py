"""`make scale` runs and prints its rows; the paper's arithmetic is right, and it is what docs/scale.md says."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest

from p2p.base.codec import check_heads, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_ITEMS
from p2p.consensus.relays import Pace
from tests.tools.scale import __main__ as scale
from tests.tools.scale import changed, figures, lifted, paper, report, samples, sizes, today, validators
from tests.tools.scale.committee import bound, chance, least_faulty, smallest
from tests.tools.scale.paper import TABLES, amount

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text()


def rows_under(head: str) -> list[list[str]]:
    """The columns of each row that the page shows under this line, wherever it stands."""
    lines = PAGE.splitlines()
    found = []
    for at in (at for at, line in enumerate(lines) if line == head):
        for line in lines[at + 1 :]:
            if not line.split() or not line.split()[0].isdigit():
                break
            found.append(line.split())
    return found


# -- the command


def test_it_runs_and_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--validators", "4,7", "--gossip", "12,24", "--participants", "12,40", "--records", "6"]
    assert scale.main(argv) == 0
    said, progress = capsys.readouterr()
    for head, first in ((report.VALIDATORS, "4"), (report.GOSSIP, "12"), (report.PARTICIPANTS, "12")):
        lines = said.splitlines()
        rows = [line.split() for line in lines[lines.index(head) + 1 :][:2]]
        assert rows[0][0] == first
        assert all(len(row) == len(re.split(r"  +", head.strip())) for row in rows), head
    assert re.search(r"^growth, votes by streams: CPU N\^[\d.-]+, bytes N\^[\d.]+, certificate N\^0\.\d+$", said, re.M)
    assert re.search(r"^conduct: -?\d+ us x N \+ -?\d+ ns x N\^2$", said, re.M)
    assert "fit into the" in said, "the records part"
    assert "[participants 2 of 2, " in progress


def test_one_part_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["--only", "participants", "--participants", "9"]) == 0
    said = capsys.readouterr().out
    assert report.VALIDATORS not in said
    assert "growth" not in said, "one size has no growth"


def test_both_ways_are_measured_where_peers_take_the_mesh() -> None:
    assert Pace().direct == validators.DIRECT
    assert validators.ways(validators.DIRECT) == ("streams",)
    assert validators.ways(validators.DIRECT + 1) == ("streams", "mesh")


LIFTED = {  # call -> a message above the bound, and what else must hold
    "lift_validators(300)": (
        "from p2p.consensus.messages import CommitCertificate as Kind; made = sizes.made_certificate(300)",
        "from tests.sim.run import KEYS; assert len(set(KEYS)) == 300",
    ),
    "lift_participants(2000)": (
        "from p2p.ledger.participants.serving import ServingSet as Kind; made = Kind(sizes.members(1300))",
        "from p2p.ledger.participants import places; assert places.MAX_PARTICIPANTS == 2000",
    ),
}


@pytest.mark.parametrize("call", LIFTED)
def test_bounds_are_lifted_before_types_are_made_and_only_then(call: str) -> None:
    with pytest.raises(AssertionError, match="of before"):
        getattr(lifted, call.partition("(")[0])(5000)
    made, also = LIFTED[call]
    first = f"from tests.tools.scale import lifted; lifted.{call}"
    lines = ["from p2p.base.codec import encode, unpack; from tests.tools.scale import sizes", made]
    lines += ["assert unpack(Kind, encode(made)) == made", also]

    def run(*program: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "\n".join(program)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run(first, *lines).stderr == ""
    assert "RemoteProtocolError" in run(*lines).stderr, "the bound of the tree refuses this size"


def test_growth_is_fitted_on_known_data() -> None:
    assert report.line_and_square([(n, 3.0 * n + 0.5 * n * n) for n in (10, 100, 3000)]) == (
        pytest.approx(3.0), pytest.approx(0.5),
    )
    assert report.line_and_square([(10, 7.0), (20, math.nan)]) == pytest.approx((math.nan, math.nan), nan_ok=True)
    rows = [validators.Row(n, "streams", 3.0, 0.1 * n, 1.0, 5.0 * n * n, 9.0, 100 * n) for n in (4, 8, 64)]
    assert report.validator_growth(rows) == ["growth, votes by streams: CPU N^1.00, bytes N^2.00, certificate N^1.00"]


def test_a_figure_between_two_sizes_follows_their_power_law() -> None:
    table = {n: 2.0 * n**1.5 for n in (10, 100, 1000)}
    assert [figures.at(table, n) for n in (10, 30, 100, 5000)] == [
        pytest.approx(2.0 * n**1.5) for n in (10, 30, 100, 5000)
    ]


# -- committees


@pytest.mark.parametrize(("hosts", "faulty", "seats"), [(9, 3, 4), (12, 4, 7), (10, 1, 3), (10, 9, 5), (7, 2, 7)])
def test_the_chance_of_a_faulty_committee_is_that_of_all_its_draws_counted(hosts: int, faulty: int, seats: int) -> None:
    draws = list(combinations(range(hosts), seats))
    bad = sum(3 * sum(host < faulty for host in draw) >= seats for draw in draws)
    assert chance(hosts, faulty, seats) == Fraction(bad, len(draws))


def test_the_bound_is_above_the_chance_and_both_fall_with_the_seats() -> None:
    for share in (0.1, 0.2, 0.25):
        found = [chance(10_000, int(10_000 * share), seats) for seats in (31, 64, 127, 256, 511)]
        assert found == sorted(found, reverse=True)
        assert all(one <= bound(share, seats) for one, seats in zip(found, (31, 64, 127, 256, 511), strict=True))
    assert bound(0.34, 100) == 1.0
    assert (least_faulty(3), least_faulty(4), least_faulty(100)) == (1, 2, 34)


def test_the_smallest_committee_is_the_smallest() -> None:
    for hosts, faulty, most in ((1000, 200, 1e-9), (10_000, 2500, 1e-6), (300, 30, 1e-12)):
        seats = smallest(hosts, faulty, most)
        assert chance(hosts, faulty, seats) <= most < chance(hosts, faulty, seats - 3)
    assert smallest(30, 15, 1e-9) == 30, "half are faulty: no committee is safe"


# -- the paper


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_table_that_the_paper_prints(name: str) -> None:
    assert TABLES[name]() in PAGE, f"replace the table by what `python -m tests.tools.scale.paper` prints as {name}"


def test_the_paper_takes_its_figures_from_the_printed_runs() -> None:
    at = {(int(row[0]), row[1]): row for row in rows_under(report.VALIDATORS)}
    for count, value in figures.MESH_CPU_MS.items():
        assert (float(at[count, "mesh"][3]), float(at[count, "mesh"][5])) == (value, figures.MESH_BYTES[count])
    largest = at[figures.STREAMS, "streams"]
    assert (float(largest[3]), float(largest[5])) == (figures.STREAMS_CPU_MS, figures.STREAMS_BYTES)
    gossip = {int(row[0]): row for row in rows_under(report.GOSSIP)}[1000]
    assert (float(gossip[6]), float(gossip[8].rstrip("%")) / 100) == (figures.COPIES, pytest.approx(figures.CONTROL))
    columns = {
        report.PARTICIPANTS: {
            1: figures.STATE_KB, 2: figures.TREE_KB, 3: figures.PROOF, 5: figures.PREPARE_MS, 7: figures.OPEN_US,
            8: figures.CLOSE_US,
        },
        report.EPOCH: {
            1: figures.SETTLE_MS, 3: figures.SPRINT_MS, 4: figures.SETS_MS, 5: figures.TREE_MS, 6: figures.SNAPSHOT_MS,
            8: figures.SNAPSHOT_KB,
        },
    }
    for head, tables in columns.items():
        shown = {int(row[0]): row for row in rows_under(head)}
        for column, table in tables.items():
            assert {n: float(shown[n][column]) for n in table} == table, (head, column)
    conduct = re.search(r"^conduct: (\d+) us x N \+ (\d+) ns x N\^2$", PAGE, re.M)
    assert conduct is not None
    assert tuple(map(float, conduct.groups())) == (figures.CONDUCT_LINE_US, figures.CONDUCT_SQUARE_NS)
    assert f"; {figures.INFERENCE_US:6.0f} us each" in PAGE
    assert f" {figures.GOSSIP_MS} " in (ROOT / "docs" / "gossip-evidence.md").read_text()


def test_what_the_paper_assumes_is_so() -> None:
    assert samples.genesis(1).epoch_blocks == today.EPOCH
    assert changed.DRAWS * changed.EPOCH == 365 * 86_400
    most = float(changed.ALLOWED / changed.DRAWS)
    assert chance(changed.SIZES[-1], changed.SIZES[-1] // 5, changed.SEATS) <= most
    # all of the first 2,000 tokens are checked, then one answer in twenty: ten of two hundred
    assert today.checked_share(200) == pytest.approx((4 + 196 * 0.05) / 200)
    assert today.checked_share(3) == 1.0
    assert sizes.signers(128) == 86
    assert len(encode(samples.start(0, samples.genesis(1).network))) < sizes.RECORDS["Start"]


def test_a_serving_set_can_be_read_up_to_the_limit_that_the_paper_names() -> None:
    proved = MAX_ITEMS // 3
    check_heads(encode(sizes.members(proved)), MAX_ITEMS)
    with pytest.raises(RemoteProtocolError, match="more than 4096 items"):
        check_heads(encode(sizes.members(proved + 1)), MAX_ITEMS)


def test_a_limit_is_where_its_value_reaches_it() -> None:
    for rate in (1.0, 1 / 60):
        hosts = today.reached(lambda t: t.requests, 256, rate)
        assert hosts == pytest.approx(256 / rate, rel=1e-3)
    one = today.Today(1000)
    assert one.batches == 1000
    assert one.record_bytes == pytest.approx(1000 * (379 + 264 + 110 + 0.069 * 3 * (107 + 636) + 149))
    assert today.Today(1000, 1 / 60).batches == pytest.approx(1000 / 60 * 9)
    assert (one.validators, one.stop_share) == (128, 0.043)


@pytest.mark.parametrize(("value", "unit", "said"), [
    (0, "B", "0 B"), (1572, "B", "1.6 kB"), (660_100, "B", "660 kB"), (6.6e6, "B", "6.6 MB"), (8.26e10, "B", "83 GB"),
    (0.0692, "s", "0.069 s"), (441.4, "s", "441 s"), (12_003.4, "s", "12,003 s"), (4.3, "%", "4.3 %"), (100, "", "100"),
    (0.207, "", "0.21"),
])
def test_amounts_are_short(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


def test_the_paper_prints_all_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    paper.main()
    said = capsys.readouterr().out
    assert [name for name in TABLES if f"{name}\n| " not in said] == []
