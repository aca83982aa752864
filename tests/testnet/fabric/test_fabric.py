"""A real fabric: namespaces, cables, cuts, delays. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from testnet.fabric import fabric as fabrics
from testnet.fabric.commands import Cut, inside
from testnet.fabric.fabric import Fabric
from testnet.fabric.links import Overlay, way_of
from testnet.manifest.members import members
from testnet.manifest.reading import parse

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(bool(fabrics.missing()), reason=fabrics.missing() or "a fabric can be made"),
]
TEXT = """
name = "fabric"
about = "Three peers in two regions."
seconds = 10
regions = ["eu", "us"]
[[links]]
between = ["eu", "us"]
latency_ms = 30
[[peers]]
name = "eu"
role = "validator"
region = "eu"
[[peers]]
name = "us"
role = "validator"
region = "us"
count = 2
"""
MANIFEST = parse(TEXT)
MEMBERS = {member.name: member for member in members(MANIFEST)}


@pytest.fixture(params=[True, False], ids=["emulated", "plain"])
def fabric(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    made = Fabric(f"t{os.getpid()}", list(MEMBERS.values()), MANIFEST.links, 1, emulated=request.param)
    try:
        made.open()
        for name in MEMBERS:
            made.add(name)
        yield made
    finally:
        made.close()
    assert fabrics.leftovers(made.run) == []


def hears(fabric: Fabric, asks: str, answers: str) -> bool:
    """Whether one member reaches another and gets an answer. A datagram each way, tried a few times."""
    address = MEMBERS[answers].address
    code = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_STREAM); s.settimeout(1.5)\n"
        "try: s.connect((sys.argv[1],9))\n"
        "except ConnectionRefusedError: sys.exit(0)\n"  # its kernel answered
        "except OSError: sys.exit(1)\n"
    )
    command = inside(fabric.namespace(asks), "python3", "-c", code, address)
    return subprocess.run(command, timeout=30, check=False).returncode == 0


def test_members_reach_each_other_but_for_what_is_cut(fabric: Fabric) -> None:
    eu, us = frozenset({MEMBERS["eu1"].address}), frozenset({MEMBERS["us1"].address})
    assert hears(fabric, "eu1", "us1")
    fabric.cut([Cut(us, eu)])
    assert not hears(fabric, "eu1", "us1"), "the answer does not come back"
    assert hears(fabric, "us2", "eu1"), "the others are not cut"
    fabric.cut([])
    assert hears(fabric, "eu1", "us1")


@pytest.mark.parametrize("fabric", [True], indirect=True)
def test_a_way_that_loses_everything_loses_everything(fabric: Fabric) -> None:
    eu = frozenset({MEMBERS["eu1"].address})
    fabric.lay([Overlay(eu, frozenset(), way_of(0, 0, 100, None))])
    assert not hears(fabric, "us1", "eu1")
    assert hears(fabric, "us1", "us2")
    fabric.lay([])
    assert hears(fabric, "us1", "eu1")
    fabric.close()
    assert fabric.counts["lost"] > 0
    assert fabric.counts["passed"] > 0


def test_there_is_no_way_out_of_the_machine(fabric: Fabric) -> None:
    command = inside(fabric.namespace("eu1"), "ip", "route", "get", "1.1.1.1")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0, "it goes to the router"
    router = inside(f"fm-{fabric.run}-router", "ip", "route", "get", "1.1.1.1")
    assert subprocess.run(router, capture_output=True, check=False).returncode != 0


def test_who_is_behind_nat_reaches_others_and_nobody_reaches_it() -> None:
    hidden = {m.name: m for m in members(parse(TEXT.replace('name = "eu"', 'name = "eu"\nnat = true')))}
    made = Fabric(f"n{os.getpid()}", list(hidden.values()), MANIFEST.links, 1, emulated=True)
    try:
        made.open()
        for name in hidden:
            made.add(name)
        assert hears(made, "eu1", "us1")
        assert not hears(made, "us1", "eu1")
    finally:
        made.close()
    assert fabrics.leftovers(made.run) == []
