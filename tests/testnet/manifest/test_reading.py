"""Manifests: what is wrong is said with its line, and what is shipped or drawn is right."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import ConfigError
from testnet.manifest.kinds import KINDS
from testnet.manifest.lines import line_of, lines_of, parse_path
from testnet.manifest.members import members
from testnet.manifest.random_manifest import draw
from testnet.manifest.reading import find, parse, read_manifest, shipped
from testnet.manifest.selectors import choose

GOOD = """\
name = "a"
about = "A test."
seconds = 60
regions = ["eu", "us"]

[[links]]
between = ["eu", "us"]
latency_ms = 40

[[peers]]
name = "host"
role = "host"
count = 3
engine = "simulated"
region = "eu"

[[peers]]
name = "late"
role = "agent"
later = true

[[peers]]
name = "client"
role = "client"

[load]
rate = 1

[[perturbations]]
at_s = 10
kind = "kill"
peers = ["host2"]
for_s = 5
"""


def test_a_good_one_is_read() -> None:
    manifest = parse(GOOD)
    assert [member.name for member in members(manifest)] == ["host1", "host2", "host3", "late1", "client1"]
    assert len({member.address for member in members(manifest)}) == 5


@pytest.mark.parametrize(("old", "new", "line", "says"), [
    ("seconds = 60", "seconds = 0", 3, ">= 1"),
    ("count = 3", "cuont = 3", 13, "no such key"),
    ('role = "host"', 'role = "hosts"', 12, "hosts"),
    ('engine = "simulated"', 'engine = "none"', 14, "a host needs an engine"),
    ("count = 3", "count = 64", 10, "at most 64"),
    ('region = "eu"', 'region = "asia"', 15, "not in `regions`"),
    ('between = ["eu", "us"]', 'between = ["eu", "mars"]', 7, "mars"),
    ("latency_ms = 40", "jitter_ms = 40", 8, "jitter"),
    ('kind = "kill"', 'kind = "explode"', 31, "there are kill"),
    ('peers = ["host2"]', 'peers = ["nobody"]', 32, "'nobody' is no peer"),
    ('peers = ["host2"]', 'peers = ["random:9:host"]', 32, "from 1 to 3"),
    ('peers = ["host2"]', 'peers = ["client"]', 32, "only peers"),
    ("for_s = 5", "for_s = 55", 33, "after the load"),
    ("at_s = 10", "at_s = 70", 30, "the load ends"),
    ('kind = "kill"', 'kind = "join"', 33, "happens once"),
    ('name = "late"', 'name = "host"', 11, "two groups"),
    ('name = "a"', "name = = 3", 1, "not TOML"),
    ("rate = 1", "rate = 0", 27, "> 0"),
    ('[load]\nrate = 1\n', "", 10, "nothing to do"),
    ('role = "client"', 'role = "client"\nlater = true', 24, "no settings, villain, later"),
    ('engine = "simulated"', 'engine = "simulated"\nvillain = "thief"', 15, "no attack thief"),
])
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigError) as error:
        parse(GOOD.replace(old, new, 1), "a.toml")
    assert f"a.toml, line {line}:" in error.value.message
    assert says in error.value.message


def test_those_that_are_shipped_are_good_and_named_after_their_files() -> None:
    names = {"smoke-4", "containers-24", "containers-48", "wan-32", "cheats-12", "churn-24",
             "crowd-48", "nat-8", "overload-24", "soak"}
    assert set(shipped()) == names
    assert {read_manifest(file).name for file in shipped().values()} == names


def test_a_file_that_is_not_there_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="smoke-4"):
        find("no-such-manifest")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_manifest(tmp_path / "a.toml")


@given(st.integers(0, 2**62), st.booleans())
def test_every_drawn_manifest_is_good_and_equal_seeds_give_equal_ones(seed: int, links: bool) -> None:
    text = draw(seed, links=links)
    assert text == draw(seed, links=links)
    assert parse(text).seed == seed


def test_drawn_manifests_have_every_kind_that_they_may() -> None:
    seen = {one.kind for seed in range(400) for one in parse(draw(seed, links=True)).perturbations}
    assert seen >= {"kill", "pause", "restart", "leave", "disconnect", "partition", "one-way", "slow-link", "loss",
                    "stop-all"}
    assert seen <= set(KINDS)


def complaint(text: str) -> str:
    """What is said against a text; "line" where nothing is."""
    try:
        parse(text)
    except ConfigError as error:
        return error.message
    return "line"


@given(st.text(max_size=300))
def test_any_text_is_a_manifest_or_an_error(text: str) -> None:
    assert "line" in complaint(text)


@given(st.lists(st.sampled_from(GOOD.splitlines()), max_size=40))
def test_lines_of_a_good_file_in_any_order_are_a_manifest_or_an_error(lines: list[str]) -> None:
    assert "line" in complaint("\n".join(lines))


def test_the_line_of_every_key_is_found() -> None:
    table, lines = tomllib.loads(GOOD), lines_of(GOOD)
    for number, group in enumerate(table["peers"]):
        for key in group:
            assert GOOD.splitlines()[lines["peers", number, key] - 1].startswith(f"{key} =")
    assert line_of(GOOD, ("peers", 1, "no such key")) == lines["peers", 1]
    assert line_of(GOOD, ("nothing",)) == 1


def test_a_path_is_read_as_msgspec_writes_it() -> None:
    assert parse_path("$.peers[2].count") == ("peers", 2, "count")
    assert parse_path("$.perturbations[...].kind") == ("perturbations",)
    assert parse_path("$") == ()


def test_selectors() -> None:
    everybody = members(parse(GOOD))

    def names(*selectors: str, seed: int = 0) -> list[str]:
        return [member.name for member in choose(selectors, everybody, random.Random(seed))]

    assert names("host") == ["host1", "host2", "host3"]
    assert names("host3", "host1", "host3") == ["host1", "host3"]
    assert names("region:eu") == names("role:host") == names("host")
    assert names("all") == ["host1", "host2", "host3", "late1"]
    assert len(names("random:2")) == 2
    assert names("random:2", seed=5) == names("random:2", seed=5)
    assert len({tuple(names("random:1:host", seed=seed)) for seed in range(50)}) == 3
    with pytest.raises(ValueError, match="from 1 to 3"):
        names("random:4:host")
