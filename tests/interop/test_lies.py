"""The TypeScript client refuses what a lying peer tells it, each lie with its own sentence, over real libp2p."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.gossip.lab import PATIENCE_S, Peer, started
from tests.interop.lies import BREAKS_OFF, BUSY, LIES, SILENT, WORDS
from tests.interop.node_js import CLIENT, program

pytestmark = pytest.mark.network


@dataclass(frozen=True)
class Asked:
    """What the client printed, and how it ended."""

    status: int
    events: list[dict[str, Any]]  # lines of standard output
    errors: list[dict[str, Any]]  # of standard error

    @property
    def sentence(self) -> str:
        """Why it refused."""
        if self.events and self.events[-1]["event"] == "done":
            return "; ".join(self.events[-1]["receipt"]["problems"])
        return str(self.errors[-1]["error"]["message"]) if "error" in self.errors[-1] else ""


async def ask(peer: Peer, folder: Path, *extra: str) -> Asked:
    command = [*program(CLIENT, "ask.ts"), "--json", "--peer", peer.address, "--dir", str(folder), *extra, "Where?"]
    with trio.fail_after(PATIENCE_S):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    events, errors = (list(map(json.loads, out.decode().splitlines())) for out in (done.stdout, done.stderr))
    return Asked(done.returncode, events, errors)


@asynccontextmanager
async def lying(folder: Path) -> AsyncIterator[tuple[Peer, Path]]:
    """(a peer, the folder of a client of its network)."""
    program(CLIENT, "ask.ts")  # skips before anything is started
    async with started([sys.executable, "-m", "tests.interop.lying_peer", str(folder)]) as (peer,):
        yield peer, folder / "client"


async def test_an_honest_answer_is_accepted_and_every_lie_is_refused(tmp_path: Path) -> None:
    async with lying(tmp_path) as (peer, folder):
        honest = await ask(peer, folder)
        assert (honest.status, honest.sentence) == (0, ""), honest
        assert honest.events[-1]["text"] == "".join(WORDS)
        assert honest.events[-1]["receipt"]["draw"] == "proved"
        for name, lie in LIES.items():
            await peer.tell("lie", name=name)
            found = await ask(peer, folder)
            assert (found.status, lie.refused in found.sentence) == (lie.status, True), (name, found)
        state = await peer.tell("state")
        assert state["signed"]
        assert state["nonces"] == list(range(1, len(LIES) + 2)), "no nonce was signed twice"


NOT_SIGNED = (
    ("another beacon", 3, "the certificate is about another block"),
    ("too few signed", 3, "not more than two thirds of its own set signed"),
    ("a forged signature", 3, "a signature of the certificate is wrong"),
    ("a height beyond", 3, "asked for header"),
    ("no block", 3, "does not show its block"),
    ("no number", 3, "a whole number"),
    ("a high price", 2, "--max-price 50"),
    ("no such model", 2, "knows no model"),
    ("a nonce far ahead, another account", 3, "proves what the chain does not say"),
)


async def test_an_answer_of_the_second_executor_is_accepted_and_what_only_the_agent_says_is_counted(
    tmp_path: Path
) -> None:
    async with lying(tmp_path) as (peer, folder):
        for name, event in ((BUSY, "busy"), (SILENT, "failed"), (BREAKS_OFF, "failed")):
            await peer.tell("lie", name=name)
            found = await ask(peer, folder)
            assert (found.status, found.events[-1]["text"]) == (0, "".join(WORDS)), found
            executors = [one["node"] for one in found.events if one["event"] == "executor"]
            assert [one["event"] for one in found.events if one.get("reason") == name] == [event]
            receipt = found.events[-1]["receipt"]
            assert receipt["executor"] == executors[1]
            assert receipt["passed_over"] == (executors[:1] if name == SILENT else []), name


async def test_nothing_is_signed_on_a_peers_word_alone(tmp_path: Path) -> None:
    async with lying(tmp_path) as (peer, folder):
        for says, status, refused in NOT_SIGNED:
            await peer.tell("says", name=says)
            found = await ask(peer, folder)
            assert (found.status, refused in found.sentence) == (status, True), (says, found)
        assert (await peer.tell("state"))["nonces"] == []
        assert not (folder / "nonces").exists(), "no nonce is used"
        await peer.tell("says", name="a high price")
        assert (await ask(peer, folder, "--max-price", "50")).status == 0


async def test_a_nonce_far_ahead_is_proved_first(tmp_path: Path) -> None:
    async with lying(tmp_path) as (peer, folder):
        await peer.tell("says", name="a nonce far ahead")
        assert (await ask(peer, folder)).status == 0
        state = await peer.tell("state")
        assert state["nonces"] == [1]
        assert "prove" in state["asked"]


@pytest.mark.parametrize("says", ["a smaller set", "another state", "no set"])
async def test_a_draw_whose_set_is_not_proved_is_a_problem(tmp_path: Path, says: str) -> None:
    async with lying(tmp_path) as (peer, folder):
        await peer.tell("says", name=says)
        found = await ask(peer, folder)
        assert (found.status, found.sentence) == (3, "who was serving at the draw's height is not shown")
        assert found.events[-1]["receipt"]["draw"] == "not checked"


async def test_an_agent_that_is_late_is_asked_again_with_the_same_request(tmp_path: Path) -> None:
    async with lying(tmp_path) as (peer, folder):
        await peer.tell("busy", times=2)
        found = await ask(peer, folder)
        assert found.status == 0
        assert [event["event"] for event in found.events[:3]] == ["waiting", "waiting", "accepted"]
        state = await peer.tell("state")
        assert (state["nonces"], state["different"]) == ([1, 1, 1], 1)
