"""The TypeScript client reads, signs, draws and checks as Python does, byte for byte and sentence for sentence."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import decode, encode, unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.chain import Chain
from p2p.client.draw_check import DrawCheck
from p2p.client.receipt import check_receipt
from p2p.consensus.light import LightBlock, follow, genesis_facts
from p2p.gossip.discovery import handshake
from p2p.ledger.state import keys
from p2p.ledger.state.proofs import TreeProof, implied_root
from p2p.ledger.state.tree import app_hash
from p2p.verification import artifact as artifacts
from p2p.verification.engine import TokenStep
from p2p.wire.frames import Accepted, Done, pack_frame, parse_frame
from tests.chains import extend
from tests.consensus.test_light import BY_KEY, NOW, SCENARIO
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import AGENT, GENESIS, HEIGHT, MODEL, SERVING, TEXT, Claim, claims
from tests.golden.samples import kinds, sample
from tests.interop.node_js import CLIENT, MIRROR, PEER, ROOT, program
from tests.sim.run import genesis_of

MUTATIONS = 1500
MESSAGES = (  # each has the same name in both languages
    "p2p.base.types.Params", "p2p.base.types.Request", "p2p.base.types.SignedRequest", "p2p.base.types.FinishRecord",
    "p2p.base.types.SignedFinish", "p2p.base.types.Streamed", "p2p.base.types.SignedStreamed",
    "p2p.base.types.BusyRecord", "p2p.base.types.SignedBusy", "p2p.consensus.messages.Header",
    "p2p.consensus.light.LightBlock", "p2p.ledger.state.proofs.TreeProof",
)
FRAMES = ("Ask", "Query", "Answer", "Accepted", "Trying", "Declined", "Tokens", "Done", "Failure")


def told(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What check.ts answers to each line."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(program(PEER, "check.ts"), input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


def test_types_hold_in_the_guide_too() -> None:
    example = re.search(r"^```ts\n(.*?)^```$", (ROOT / "docs" / "use-from-code.md").read_text(), re.M | re.S)
    assert example is not None
    for folder in (CLIENT, PEER):
        node, tsc = program(folder, "node_modules/typescript/bin/tsc")
        if folder == CLIENT:
            (MIRROR / CLIENT / "guide.ts").write_text(example[1])
        done = subprocess.run(
            [node, tsc, "-p", str(MIRROR / folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_programs_are_short_and_begin_with_their_law() -> None:
    for file in (*(ROOT / CLIENT).glob("*.ts"), *(ROOT / PEER).glob("*.ts")):
        lines = file.read_text().splitlines()
        assert len(lines) <= 200, file
        assert max(map(len, lines)) <= 120, file
        assert lines[0].startswith("// "), file


def test_versions_are_exact_and_the_same_in_both_folders() -> None:
    found = [json.loads((ROOT / folder / "package.json").read_text()) for folder in (CLIENT, PEER)]
    client, peer = ({**one["dependencies"], **one["devDependencies"]} for one in found)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in (*client.values(), *peer.values()))
    assert {name: peer[name] for name in client.keys() & peer.keys()} == {
        name: client[name] for name in client.keys() & peer.keys()
    }


def test_messages_are_read_and_written_alike() -> None:
    known = {name: encode(sample(kind)) for name, kind in kinds().items()}
    lines = [{"op": "message", "name": name.rsplit(".", 1)[1], "bytes": known[name].hex()} for name in MESSAGES]
    lines += [{"op": "frame", "name": name, "bytes": known[f"p2p.wire.frames.{name}"].hex()} for name in FRAMES]
    greetings = {
        "Hello": handshake.pack_hello(GENESIS.network, ("/ip4/1.2.3.4/tcp/5",)),
        "Welcome": handshake.pack_welcome(("/ip4/1.2.3.4/tcp/5",), (handshake.Entry("a", ("/ip4/1.2.3.4/tcp/6",)),)),
        "Refusal": handshake.pack_refusal(handshake.other_network("a@1", "b@2")),
    }
    lines += [{"op": "message", "name": name, "bytes": raw.hex()} for name, raw in greetings.items()]
    for line, answer in zip(lines, told(lines), strict=True):
        assert answer.get("bytes") == line["bytes"], (line["name"], answer)


def test_cut_longer_and_mutated_bytes_are_refused_by_both_or_by_neither() -> None:
    chance = random.Random(7)
    known = [encode(sample(kind)) for _, kind in sorted(kinds().items())]
    tried = [raw for one in known for raw in (one, one[:-1], one + b"\0")]
    for _ in range(MUTATIONS):
        one, other = chance.choice(known), chance.choice(known)
        tried.append(mutate((one,), (other,), chance)[0])
    differ = []
    for raw, answer in zip(tried, told([{"op": "decode", "bytes": raw.hex()} for raw in tried]), strict=True):
        try:
            decode(raw)
            refused = ""
        except RemoteProtocolError as error:
            refused = error.message
        if bool(refused) != ("error" in answer):
            differ.append((raw.hex(), refused, answer))
    assert differ == []


def test_the_networks_id_its_validators_signatures_and_draws_are_the_same() -> None:
    serving = [(digest(b"node", bytes([at])), at * 1000) for at in range(20)]
    beacon, body, network = digest(b"beacon"), b"a body", GENESIS.network
    ids = [digest(b"id", bytes([at])) for at in range(30)]
    key = Key(b"\x07" * 32)
    found = told([
        {"op": "genesis", "bytes": encode(GENESIS).hex()},
        {"op": "signature", "seed": key.seed.hex(), "domain": "request", "network": network, "body": body.hex()},
        *({"op": "draw", "beacon": beacon.hex(), "id": one.hex(), "agent": serving[3][0].hex(),
           "serving": [(node.hex(), weight) for node, weight in serving]} for one in ids),
    ])
    assert found[0] == {
        "network": network, "hash": GENESIS.hash.hex(),
        "validators": genesis_facts(GENESIS).validators.hash().hex(),
    }
    assert found[1] == {
        "public": key.public.hex(), "signature": key.sign(Domain.REQUEST, network, body).hex()
    }
    right = [draw_executors(beacon, one, WeightedDraw(serving), serving[3][0], MAX_CANDIDATES) for one in ids]
    assert [one["drawn"] for one in found[2:]] == [[node.hex() for node in one] for one in right]


def followed(chain: Chain, target: int, lights: dict[int, bytes]) -> dict[str, Any] | None:
    """Which headers Python's light client asks for, and what the last one says; None where it trusts it not."""
    asked, now = [], time.time_ns() // 1_000_000
    steps = follow(genesis_facts(chain.genesis), target, chain.genesis.network, now, 2 * now)
    try:
        asked.append(next(steps))
        while True:
            asked.append(steps.send(unpack(LightBlock, lights[asked[-1]])))
    except StopIteration as trusted:
        header = trusted.value[-1].header
        return {"asked": asked, "app_hash": header.app_hash.hex(), "beacon": header.beacon.hex()}
    except FolkmootError:
        return None


def test_headers_are_trusted_by_the_same_way_or_by_neither(tmp_path: Path) -> None:
    """The validators change on the way, so that a header in the middle is needed."""
    chance, top = random.Random(13), 18
    chain = Chain.open(tmp_path, genesis_of(SCENARIO))
    extend(chain, top, BY_KEY, lambda height: NOW + height * 1000)
    lights = {height: encode(chain.blocks.light_block(height)) for height in range(1, top + 1)}
    cases = [(target, lights) for target in range(1, top + 1)]
    for _ in range(MUTATIONS // 5):
        target = chance.randint(1, top)
        wrong = mutate((lights[target],), (lights[chance.randint(1, top)],), chance)[0]
        cases.append((target, {**lights, target: wrong}))
    answers = told([
        {"op": "follow", "genesis": encode(chain.genesis).hex(), "target": target,
         "lights": {height: raw.hex() for height, raw in lights.items()}} for target, lights in cases
    ])
    ours = [followed(chain, *case) for case in cases]
    assert None not in ours[:top]
    assert max(len(one["asked"]) for one in ours[:top] if one) > 1, "else no header in the middle was needed"
    assert [(one, other) for one, other in zip(ours, answers, strict=True) if one != (
        None if "error" in other else other)] == []
    chain.close()


def test_values_of_the_state_are_proved_alike(tmp_path: Path) -> None:
    chance, chain = random.Random(17), Chain.open(tmp_path, genesis_of(SCENARIO))
    extend(chain, 6, BY_KEY, lambda height: NOW + height * 1000)
    nobody = [keys.account(digest(b"nobody", bytes([at]))) for at in range(20)]
    wanted = [keys.TOTALS, keys.serving_versions("m"), *nobody]
    proved = [(key, *chain.state.prove(key)) for key in wanted]
    cases = [(key, value, encode(proof)) for key, value, proof in proved]
    others = [proof.other for _, _, proof in proved if proof.other is not None]
    assert others, "some of the missing keys have a neighbour"
    cases += [(key, value, encode(replace(proof, other=others[0]))) for key, value, proof in proved]
    cases += [(key, None if value else b"a value", encode(proof)) for key, value, proof in proved]
    for _ in range(MUTATIONS // 5):
        (key, value, raw), (_, _, donor) = chance.choice(cases), chance.choice(cases)
        cases.append((key, value, mutate((raw,), (donor,), chance)[0]))
    answers = told([
        {"op": "state", "key": key.hex(), "value": None if value is None else value.hex(), "proof": raw.hex()}
        for key, value, raw in cases
    ])
    right = [implied(*case) for case in cases]
    assert right[: len(wanted)] == [chain.app_hash().hex()] * len(wanted)
    assert [one.get("app_hash") for one in answers] == right
    chain.close()


def implied(key: bytes, value: bytes | None, raw: bytes) -> str | None:
    try:
        root = implied_root(key, value, unpack(TreeProof, raw))
    except RemoteProtocolError:
        return None
    return None if root is None else app_hash(root).hex()


def question(claim: Claim, parts: tuple[bytes, bytes], serving: WeightedDraw | None = SERVING) -> dict[str, Any]:
    return {
        "op": "problems", "agent": AGENT.public.hex(), "signed": encode(claim.signed).hex(),
        "accepted": parts[0].hex(), "done": parts[1].hex(), "tokens": tokens_of(claim), "text": TEXT,
        "height": claim.signed.request.draw_height, "beacon": claim.accepted.beacon.hex(),
        "serving": None if serving is None else [(node.hex(), weight) for node, weight in serving.pairs()],
    }


def tokens_of(claim: Claim) -> list[int]:
    return list(artifacts.parse(claim.done.artifact).tokens)


def problems(claim: Claim, parts: tuple[bytes, bytes], serving: WeightedDraw | None = SERVING) -> list[str] | None:
    """What Python's client finds wrong; None where it cannot read the frames."""
    try:
        accepted, done = parse_frame(parts[0], Accepted), parse_frame(parts[1], Done)
    except RemoteProtocolError:
        return None
    assert isinstance(accepted, Accepted)
    assert isinstance(done, Done)
    request = claim.signed.request
    drawn = DrawCheck(GENESIS, MODEL, request.draw_height, serving, claim.accepted.beacon)
    return check_receipt(AGENT.public, claim.signed, accepted, done, tokens_of(claim), TEXT, drawn=drawn)


def alike(ours: list[str] | None, theirs: dict[str, Any]) -> bool:
    """Both cannot read it, or both find the same problems. Why an artifact cannot be read is said in other words."""
    if ours is None or "error" in theirs:
        return ours is None and "error" in theirs
    cut = "the artifact cannot be read"
    return [one if not one.startswith(cut) else cut for one in ours] == [
        one if not one.startswith(cut) else cut for one in theirs["problems"]
    ]


def parts_of(claim: Claim) -> tuple[bytes, bytes]:
    return pack_frame(claim.accepted), pack_frame(claim.done)


def with_a_bit_behind_a_row(claim: Claim) -> tuple[bytes, bytes]:
    """A row of large token ids has 250 bits in 32 bytes."""
    step = TokenStep(1 << 17, "", -0.02, (((1 << 17), -0.02),))
    made = artifacts.build(artifacts.parse(claim.done.artifact).header, [step])
    wrong = artifacts.Artifact(made.header, made.rows[:-1] + bytes([made.rows[-1] | 0x80]))
    return pack_frame(claim.accepted), pack_frame(replace(claim.done, artifact=wrong.to_bytes()))


def test_honest_receipts_hold_and_mutated_ones_have_the_same_problems() -> None:
    chance, cases = random.Random(11), [(claim, parts_of(claim), SERVING) for claim in claims()]
    assert {claim.signed.request.draw_height for claim in claims()} == set(range(HEIGHT, HEIGHT + len(claims())))
    cases += [(claims()[0], parts_of(claims()[0]), None), (claims()[0], with_a_bit_behind_a_row(claims()[0]), SERVING)]
    for _ in range(MUTATIONS):
        claim, other = chance.choice(claims()), chance.choice(claims())
        changed = mutate(parts_of(claim), parts_of(other), chance)
        cases.append((claim, (changed[0], changed[1]), SERVING))
    answers = told([question(*case) for case in cases])
    assert [one["problems"] for one in answers[: len(claims())]] == [[]] * len(claims()), "one of them was taken over"
    ours = [problems(*case) for case in cases]
    both = enumerate(zip(ours, answers, strict=True))
    differ = [(at, one, other) for at, (one, other) in both if not alike(one, other)]
    assert differ == []
    assert sum(bool(one) for one in ours) > MUTATIONS // 6, "many can be read"


def test_each_signature_binds_the_network() -> None:
    claim = claims()[0]
    request = replace(claim.signed.request, network="another@" + "0" * 32)
    elsewhere = dataclasses.replace(claim, signed=replace(claim.signed, request=request))
    (answer,) = told([question(elsewhere, parts_of(claim))])
    assert "the finish record is not signed by the executor" in answer["problems"]
    assert answer["problems"] == problems(elsewhere, parts_of(claim))
