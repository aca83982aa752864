"""The pages' own checks (pages/js) against the network's: hashes, CBOR, proofs, draws, artifacts.

What the browser computes again must be what Python computes, and whatever is changed must be noticed.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import p2p.explorer
from p2p.base import merkle
from p2p.base.codec import encode
from p2p.base.keys import digest
from p2p.base.types import VERSION, FinishReason, FinishRecord, SignedFinish
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.client.answer_proof import AnswerProof
from p2p.explorer.draws import Draws
from p2p.explorer.rows import DrawStory
from p2p.ledger.state.proofs import implied_root, prove
from p2p.verification.artifact import build, header_for, output_hash
from p2p.verification.engine import TokenStep
from p2p.wire.answers.blocks import Light
from p2p.wire.frames import Accepted
from tests.client.one_answer import BODY, EXECUTOR, SIGNED, SPEC
from tests.explorer.scripted import MODEL, Scripted, Tree
from tests.interop.node_js import node

HERE = Path(__file__).parent
PAGES = Path(p2p.explorer.__file__).parent / "pages" / "js"


class Js:
    """The pages' modules in Node.js."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, op: str, **asked: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **asked}) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def value(self, op: str, **asked: Any) -> Any:
        found = self.ask(op, **asked)
        assert "error" not in found, found
        return found["value"]


@pytest.fixture(scope="module")
def js(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Js]:
    found = node()
    if found is None:
        pytest.skip("no Node.js here that is new enough: run `make .venv/.node`")
    folder = tmp_path_factory.mktemp("js")  # a package of its own, whose .js files are modules
    (folder / "package.json").write_text('{"type": "module"}')
    for file in PAGES.glob("*.js"):
        (folder / file.name).write_bytes(file.read_bytes())
    running = Js([found[0], str(HERE / "js" / "check.mjs"), str(folder)])
    yield running
    running.process.kill()
    running.process.wait()


@settings(max_examples=60)
@given(data=st.binary(max_size=300), parts=st.lists(st.binary(max_size=70), max_size=6))
def test_hashes_are_the_same(js: Js, data: bytes, parts: list[bytes]) -> None:
    assert js.value("sha256", data=data.hex()) == sha256(data).hexdigest()
    hexes = [part.hex() for part in parts]
    assert js.value("digest", parts=hexes) == digest(*parts).hex()
    assert js.value("merkle", leaves=hexes) == merkle.root(parts).hex()


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53 else value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=12,
)


@settings(max_examples=80)
@given(value=VALUES)
def test_cbor_is_read_as_it_was_written(js: Js, value: Any) -> None:
    assert js.value("cbor", data=encode(value).hex()) == plain(value)


@settings(max_examples=80)
@given(data=st.binary(max_size=40))
def test_any_bytes_end_in_a_value_or_an_error(js: Js, data: bytes) -> None:
    assert js.ask("cbor", data=data.hex()).keys() <= {"value", "error"}


@settings(max_examples=40)
@given(
    weights=st.lists(st.integers(0, 2), max_size=8) | st.lists(st.integers(0, 2**40), max_size=12),
    seed=st.binary(min_size=4, max_size=4),
    agent=st.integers(0, 11),
)
def test_draws_are_the_same(js: Js, weights: list[int], seed: bytes, agent: int) -> None:
    rows = [(digest(b"n", seed, bytes([at])), weight) for at, weight in enumerate(weights)]
    rows += [(digest(b"one", seed, bytes([at])), 1) for at in range(4)]  # their edges are hit often
    beacon, ident, out = digest(b"b", seed), digest(b"i", seed), digest(b"n", seed, bytes([agent]))
    wanted = draw_executors(beacon, ident, WeightedDraw(rows), out, 8)
    found = js.value("draw", beacon=beacon.hex(), id=ident.hex(), agent=out.hex(),
                     serving=[(name.hex(), str(weight)) for name, weight in rows])
    assert found == [name.hex() for name in wanted]


def test_state_proofs_have_the_same_root_and_a_changed_one_has_not(js: Js) -> None:
    rng, tree = random.Random(5), Tree()
    tree.put({b"key %d" % at: rng.randbytes(rng.randint(1, 60)) for at in range(200)})
    for at in (*range(0, 200, 17), 901, 902, 903):
        key = b"key %d" % at
        value, proof = tree.values.get(key), prove(tree.pages.get, key)
        asked = {"key": key.hex(), "value": None if value is None else value.hex(), "proof": encode(proof).hex()}
        root = implied_root(key, value, proof)
        assert root == tree.root
        assert js.value("root", **asked) == root.hex()
        changed = b"x" if value is None else value + b"x"
        said = js.value("root", **{**asked, "value": changed.hex()})
        wrong = implied_root(key, changed, proof)
        assert said == (None if wrong is None else wrong.hex()) != root.hex()


async def stories(source: Scripted) -> list[tuple[DrawStory, dict[int, str]]]:
    """Each inference's draw, with the headers that it may need."""
    draws, found = Draws(), []
    headers = {}
    for height in range(1, source.tops + 1):
        headers[height] = (await source.ask(Light, {"op": "light", "height": height})).light
    for name in source.stories:
        found.append((await draws.fetch(source, name), headers))
    return found


def checked(
    js: Js, story: DrawStory, headers: dict[int, str], **change: Any,
) -> tuple[dict[str, bool | None], list[str]]:
    """(what each step found, who was drawn). change: fields of the story."""
    fields = {name: getattr(story, name) for name in story.__struct_fields__} | change
    found = js.value("check", story=fields, headers=headers)
    return {step["name"]: step["ok"] for step in found["steps"]}, found["picks"]


def test_every_draw_of_a_network_is_drawn_again_and_with_it_those_of_sessions(js: Js) -> None:
    source = Scripted()
    kinds = set()
    for story, headers in trio.run(stories, source):
        steps, picks = checked(js, story, headers)
        assert set(steps.values()) == {True}, (story.id, steps)
        assert picks == [node.hex() for node in source.records[story.id].candidates]
        kinds.add("Session’s set" in steps)
    assert kinds == {True, False}


def test_whatever_is_changed_is_noticed(js: Js) -> None:
    source = Scripted(asked=5)
    found = trio.run(stories, source)
    story, headers = found[0]
    other = found[1][0]
    assert checked(js, story, headers, id=other.id)[0]["Request"] is False
    assert checked(js, story, headers, record=other.record)[0]["Request"] is False
    raw = bytearray.fromhex(story.record)
    at = bytes(raw).index(source.records[story.id].candidates[0])
    raw[at : at + 32] = bytes(32)
    steps, _ = checked(js, story, headers, record=raw.hex())
    assert (steps["Record"], steps["Draw"]) == (False, False)
    heavy = bytes.fromhex(story.serving).replace(bytes([0x18, 40]), bytes([0x18, 41]))
    assert checked(js, story, headers, serving=heavy.hex())[0]["Serving set"] is False
    swapped = {**headers, story.draw_height: headers[story.draw_height + 1]}
    assert checked(js, story, swapped)[0]["Beacon"] is None
    false_beacon = bytes.fromhex(headers[story.draw_height])
    beacon = source.records[story.id].beacon
    swapped = {**headers, story.draw_height: false_beacon.replace(beacon, bytes(32)).hex()}
    assert checked(js, story, swapped)[0]["Beacon"] is False


def test_what_is_missing_is_open_and_not_wrong(js: Js) -> None:
    story, headers = trio.run(stories, Scripted(asked=1))[0]
    steps, _ = checked(js, story, headers, serving="", why="gone")
    assert steps["Serving set"] is None
    assert "Draw" not in steps
    late = {height: light for height, light in headers.items() if height <= story.height}
    assert checked(js, story, late)[0]["Record"] is None
    assert js.ask("serving", proof=story.serving, model=MODEL, height=99)["error"]


@pytest.mark.parametrize("widest", [900, 200_000])
def test_a_proof_of_an_answer_is_read_with_its_margins(js: Js, widest: int) -> None:
    rng = random.Random(widest)
    steps = []
    for at in range(70):
        token = rng.randrange(widest)
        top = tuple((token if rank == at % 9 else rng.randrange(widest), -0.5 - rank / 4) for rank in range(8))
        steps.append(TokenStep(token, "", -rng.random() * 3, top))
    header = header_for(SIGNED.request, SIGNED.inference_id, SPEC, bytes(32), [1, 2, 3], FinishReason.STOP)
    artifact = build(header, steps)
    record = FinishRecord(
        SIGNED.inference_id, EXECUTOR.public, artifact.root(), output_hash(artifact.tokens), 3, 70, FinishReason.STOP,
    )
    accepted = Accepted(SIGNED.inference_id, EXECUTOR.public, bytes(32), (EXECUTOR.public,))
    proof = AnswerProof(
        VERSION, encode(BODY), SIGNED, accepted, SignedFinish(record, bytes(64)), artifact.to_bytes(), b"", "said",
    )
    found = js.value("proof", data=encode(proof).hex())
    assert (found["inferenceId"], found["text"]) == (SIGNED.inference_id.hex(), "said")
    assert (found["rootMatches"], found["outputMatches"], found["root"]) == (True, True, artifact.root().hex())
    for row, position in zip(found["rows"], artifact.positions(), strict=True):
        assert (row["token"], row["logprob"], row["tail"]) == (position.token, position.logprob, position.tail)
        assert [tuple(one) for one in row["top"]] == list(position.top)
    bad = bytearray(artifact.to_bytes())
    bad[-1] ^= 1
    false = AnswerProof(VERSION, encode(BODY), SIGNED, accepted, proof.finish, bytes(bad), b"", "said")
    assert js.value("proof", data=encode(false).hex())["rootMatches"] is False
    assert js.ask("proof", data="80")["error"]
