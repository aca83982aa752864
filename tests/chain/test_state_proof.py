"""`folkmoot prove`: makes a file from a peer's answers, and the file is checked with nothing but the genesis file or a
header that the reader trusts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.proofs.state import StateProof, check_state_proof, named, parse_state_proof
from p2p.chain.queries import PUBLIC_OPS, Queries
from p2p.cli.main import main
from p2p.consensus.light import genesis_facts
from p2p.consensus.messages import Header
from tests.chain.test_sync import now_ms
from tests.chains import extend
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario
from tests.sim.traffic import CLIENT

BY_KEY = {key.public: key for key in KEYS}
MOVING = tuple(
    (epoch, peer, weight) for epoch, (out, new) in enumerate([(0, 4), (1, 5), (2, 6)], 1) for peer,
    weight in ((out, 0), (new, 1))
)


class Place:
    """A chain that grows by one block whenever somebody waits for a header, and a folder with its genesis file."""

    def __init__(self, folder: Path, scenario: Scenario, heights: int) -> None:
        self.folder = folder
        self.chain = Chain.open(folder / "peer", replace(genesis_of(scenario), time_ms=now_ms() - 100_000))
        (folder / "genesis.cbor").write_bytes(encode(self.chain.genesis))
        self.queries = Queries(self.chain, dict, tuple, AccountTransactions(self.chain).fate)
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
        self.grow(heights)

    def grow(self, heights: int) -> None:
        begin = now_ms() - 60_000
        extend(self.chain, self.chain.height() + heights, BY_KEY, lambda height: begin + height)

    def call(self, directory: Path, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "light" and request["height"] > self.chain.height():
            self.grow(1)
        return self.change(self.queries.answer_public(json.loads(json.dumps(request))))

    def run(self, *arguments: str) -> int:
        return main(["prove", *arguments, "--dir", str(self.folder), "--json"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Place]:
    scenario, heights = getattr(request, "param", (Scenario(0, (1,), epoch_blocks=1000), 3))
    made = Place(tmp_path, scenario, heights)
    monkeypatch.setattr("p2p.peer.control.call", made.call)
    yield made
    made.chain.close()


def test_an_account_and_a_participant_are_proved_and_checked_offline(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.folder / "proof"
    for kind, id_, field in (("account", CLIENT.public, "balance_micro"), ("participant", KEYS[0].public, "weight")):
        assert place.run(kind, id_.hex(), "--out", str(file)) == 0
        made = json.loads(capsys.readouterr().out)
        assert (made["height"], made["header"]) == (place.chain.height() - 1, place.chain.height())
        assert made["record"][field] > 0
        with monkeypatch.context() as offline:
            offline.setattr("p2p.peer.control.call", None)
            assert place.run("--check", str(file)) == 0
        assert json.loads(capsys.readouterr().out) == made
    assert "prove" in PUBLIC_OPS


def test_absence_is_proved_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = place.folder / "proof"
    assert place.run("inference", "ab" * 32, "--out", str(file)) == 0
    assert json.loads(capsys.readouterr().out)["record"] is None
    assert place.run("--check", str(file)) == 0
    assert place.run("inference", "ab" * 32, "--check", str(file)) == 0
    assert place.run("inference", "ac" * 32, "--check", str(file)) == 3, "the proof is about another id"
    raw, start = file.read_bytes(), genesis_facts(place.chain.genesis)
    about = raw.index(b"\xab" * 32)
    # the id is left out: with a changed one it may be a true proof that another id is absent
    for at in [*range(about), *range(about + 32, len(raw))]:
        with pytest.raises(FolkmootError):
            check_state_proof(
                parse_state_proof(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]), start,
                place.chain.genesis.network, now_ms()
            )


def check_named(raw: bytes, header: Header) -> None:
    proof = parse_state_proof(raw)
    check_state_proof(proof, named(proof, header.network, header.height, header.block_id), header.network, now_ms())


def test_no_changed_byte_of_a_file_passes(place: Place) -> None:
    """One validator, so the file is small; each byte, changed in two ways."""
    file = place.folder / "proof"
    assert place.run("account", CLIENT.public.hex(), "--out", str(file)) == 0
    raw, genesis = file.read_bytes(), place.chain.genesis
    start = genesis_facts(genesis)
    check_state_proof(parse_state_proof(raw), start, genesis.network, now_ms())
    top = place.chain.blocks.header(place.chain.height())
    assert top is not None
    for at in range(len(raw)):
        for flip in (1, 0x80):
            bad = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            with pytest.raises(FolkmootError):
                check_state_proof(parse_state_proof(bad), start, genesis.network, now_ms())
            with pytest.raises(FolkmootError):
                check_named(bad, top)
    for bad in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(RemoteProtocolError):
            parse_state_proof(bad)


@pytest.mark.parametrize("lie", ["value", "absent", "height", "sibling", "rubbish"])
def test_a_lying_peer_gives_no_file(place: Place, lie: str, capsys: pytest.CaptureFixture[str]) -> None:
    false = {
        "value": {"value": encode([10**12, 0, 0]).hex()}, "absent": {"value": None}, "height": {"height": 1},
        "sibling": {"proof": encode([[bytes(32)], None]).hex()}, "rubbish": {"proof": "zz"},
    }[lie]
    place.change = lambda answer: answer | false if "proof" in answer else answer
    file = place.folder / "proof"
    assert place.run("account", CLIENT.public.hex(), "--out", str(file)) == 3
    assert not file.exists()
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "place", [(Scenario(0, (1, 1, 1, 1, 0, 0, 0), changes=MOVING, epoch_blocks=4), 18)], indirect=True
)
def test_the_headers_lead_over_set_changes_or_begin_at_a_trusted_one(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.folder / "proof"
    assert place.run("account", CLIENT.public.hex(), "--out", str(file)) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["headers"] > 1, "no validator of the genesis file is left"
    assert place.run("--check", str(file)) == 0
    proof = parse_state_proof(file.read_bytes())
    short = replace(proof, way=proof.way[-1:])
    with pytest.raises(RemoteProtocolError, match="cannot be trusted"):
        check_state_proof(short, genesis_facts(place.chain.genesis), place.chain.genesis.network, now_ms())
    known = place.chain.blocks.header(16)
    assert known is not None
    trusted = f"16:{known.block_id.hex()}"
    assert place.run("--check", str(file), "--trusted-header", trusted) == 3, "the headers do not begin there"
    assert place.run("account", CLIENT.public.hex(), "--out", str(file), "--trusted-header", trusted) == 0
    assert place.run("--check", str(file), "--trusted-header", trusted) == 0
    assert place.run("--check", str(file), "--trusted-header", f"16:{'00' * 32}") == 3
    assert place.run("--check", str(file), "--trusted-header", f"16:{'zz' * 32}") == 2


def test_old_headers_are_believed_only_from_a_trusted_one(place: Place) -> None:
    file = place.folder / "proof"
    assert place.run("account", CLIENT.public.hex(), "--out", str(file)) == 0
    proof: StateProof = parse_state_proof(file.read_bytes())
    late, last = now_ms() + 10**10, proof.way[-1].header
    with pytest.raises(RemoteProtocolError, match="trusting period"):
        check_state_proof(proof, genesis_facts(place.chain.genesis), place.chain.genesis.network, late)
    check_state_proof(
        proof, named(proof, place.chain.genesis.network, last.height, last.block_id), place.chain.genesis.network, late
    )


def test_what_cannot_be_proved_is_an_error(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, field in (
        (("money", "ab" * 32), "kind"), (("account", "ab"), "id"), (("--check", "/nowhere"), "check"), ((), "kind")
    ):
        assert place.run(*arguments) == 2
        assert json.loads(capsys.readouterr().err)["error"]["field"] == field
