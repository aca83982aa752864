"""Lies outside the engine, on a real network with the fake model.

The receipt, `ask --save` and `verify` show them to the client.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.types import Params, StackClass
from p2p.client.answer_proof import load_proof, save_proof
from p2p.client.ask import ask
from p2p.client.events import Accepted, Declined, Done, Event, Proved
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.client.receipt import Receipt
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification.profile import Profile
from tests import warm
from tests.cli.keeps_to import keeps_to
from tests.net_lab import Net, only
from tests.verification.toy import calibrated, files

pytestmark = pytest.mark.network
OTHER, TEXT = 3, 4  # peers that serve other tokens, other text
COLLUDER = 0  # an agent that looks away


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    directory = tmp_path_factory.mktemp("net")
    cheats = {COLLUDER: "commit_honest_serve_other", OTHER: "commit_honest_serve_other", TEXT: "serve_other_text"}
    made = Net(directory / "n", 5, cheats=cheats)
    yield made
    made.close()


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the toy under the name it is served by."""
    file = tmp_path_factory.mktemp("profile") / "toy.json"
    pair = f"{StackClass.CPU_BF16}>{StackClass.CPU_BF16}"
    file.write_text(Profile(DEFAULT_MODEL, bytes(32).hex(), {}, 500, {pair: calibrated()}).to_json())
    return file


def events_of(net: Net, agent: int, executor: int, file: Path | None = None) -> list[Event]:
    """Events of a question to `agent` whose draw puts `executor` first; the proof goes into `file`. A refusal ends the
    events.
    """
    to, payer = Endpoint(net.address(agent), net.genesis), Payer.load(net.directory / "client")
    wanted = bytes.fromhex(net.node(executor))
    question = Question(DEFAULT_MODEL, one_message("hello"), Params(1000), 12)
    events: list[Event] = []

    async def collect() -> None:
        events.clear()
        async for event in ask(to, question, payer, Overrides(choose_executor=wanted)):
            events.append(event)
            if isinstance(event, Proved) and file is not None:
                save_proof(event.proof, file)

    for _ in range(10):
        try:
            trio.run(collect)
        except* (Unavailable, InvalidRequest):
            pass  # refused by all; or this agent has not seen our last nonce yet
        if any(isinstance(event, Accepted) and event.candidates[0] == wanted for event in events):
            return events
    raise AssertionError("ten draws went to others")


def receipt_of(net: Net, agent: int, executor: int, file: Path) -> Receipt:
    return only(Done, events_of(net, agent, executor, file)).receipt


def verify(net: Net, profile: Path, *more: str) -> tuple[int, dict[str, Any]]:
    engine = ["--ml-node", net.urls[net.folders[1].name], "--tokenizer", files()["tokenizer"]]
    argv = [sys.executable, "-m", "p2p", "verify", "--json", *more, *engine, "--profile", str(profile)]
    done = warm.run(argv, 120)
    assert done.stdout, done.stderr
    return done.returncode, dict(keeps_to("verify", done.stdout))


def test_an_honest_answer_is_valid_for_anybody(net: Net, profile: Path, tmp_path: Path) -> None:
    receipt = receipt_of(net, 1, 2, tmp_path / "proof")
    assert receipt.checked, receipt
    net.final(receipt.inference_id.hex())
    client = ["--dir", str(net.directory / "client"), "--peer", net.address(1)]
    code, found = verify(net, profile, str(tmp_path / "proof"), *client)
    assert (code, found["valid"], found["problems"], found["notes"]) == (0, True, [], []), found
    assert [row["position"] for row in found["tokens"]] == list(range(receipt.output_tokens))
    assert all(row["margin"] == 0 and abs(row["published"] - row["own"]) < 0.001 for row in found["tokens"])
    for peer in (1, 2):  # the agent and the executor keep the payload
        code, found = verify(net, profile, receipt.inference_id.hex(), "--dir", str(net.folders[peer]))
        assert (code, found["valid"]) == (0, True), found


def test_a_changed_proof_is_invalid(net: Net, profile: Path, tmp_path: Path) -> None:
    events_of(net, 1, 2, tmp_path / "proof")
    proof = load_proof(tmp_path / "proof")
    save_proof(replace(proof, text="Another answer."), tmp_path / "text")
    save_proof(replace(proof, tokens=proof.tokens[:-4]), tmp_path / "tokens")
    save_proof(replace(proof, body=encode(one_message("another question"))), tmp_path / "prompt")
    for name, problem in (
        ("text", "text that was shown"), ("tokens", "other tokens than were streamed"),
        ("prompt", "whose hash was signed"),
    ):
        code, found = verify(net, profile, str(tmp_path / name), "--dir", str(net.directory / "client"))
        assert code == 3
        assert any(problem in said for said in found["problems"]), found


def test_an_honest_agent_refuses_other_tokens_than_were_streamed(net: Net) -> None:
    events = events_of(net, 1, OTHER)
    failed = [event for event in events if isinstance(event, Declined)]
    assert failed[0].node.hex() == net.node(OTHER)
    assert "other tokens than were streamed" in failed[0].reason
    assert not any(isinstance(event, Done) for event in events), "nobody else signs for a liar's tokens"


def test_with_a_colluding_agent_the_receipt_shows_it_and_so_does_verify(
    net: Net, profile: Path, tmp_path: Path
) -> None:
    receipt = receipt_of(net, COLLUDER, OTHER, tmp_path / "proof")
    assert not receipt.checked
    assert "the finish record claims other tokens than were streamed" in receipt.problems
    assert net.final(receipt.inference_id.hex())["output_matches"] is False
    code, found = verify(
        net, profile, str(tmp_path / "proof"), "--dir", str(net.directory / "client"), "--peer", net.address(1)
    )
    assert (code, found["valid"]) == (3, False)
    assert "the finish record claims other tokens than were streamed" in found["problems"]
    assert found["report"]["valid"], "what it committed to is honest: only the client can tell"


def test_another_text_over_the_right_tokens_is_refused_by_the_agent_else_seen_by_the_client(
    net: Net, profile: Path, tmp_path: Path
) -> None:
    failed = [event for event in events_of(net, 1, TEXT) if isinstance(event, Declined)]
    assert failed[0].node.hex() == net.node(TEXT)
    assert "another text than was streamed" in failed[0].reason
    receipt = receipt_of(net, COLLUDER, TEXT, tmp_path / "proof")
    assert receipt.problems == ("the text that was shown is not the one signed for",)
    code, found = verify(net, profile, str(tmp_path / "proof"), "--dir", str(net.directory / "client"))
    assert (code, found["problems"]) == (3, list(receipt.problems))
