"""Wrong records of every kind.

Law: each is wrong in one named way, so the ledger must refuse it whatever else its block holds. Where that depends on
the block, the name begins with '?'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.keys import Domain
from p2p.base.types import (
    VERSION,
    BusyRecord,
    FinishReason,
    OutputRecord,
    Params,
    PlantCommit,
    PlantReveal,
    RecordKind,
    SignedBusy,
    StartRecord,
    Status,
    VerdictCommit,
    VerdictKind,
)
from p2p.ledger.rules.ops import (
    Body,
    Cap,
    ChangeChecks,
    ChangeEconomy,
    Delegate,
    Deposit,
    Propose,
    RetireModel,
    Revoke,
    SignedOp,
    Transfer,
    Unregister,
    Vote,
    Withdraw,
    sign_op,
)
from p2p.ledger.state.records import Inference
from tests.ledger.soak.account_transactions import register, rotation, say
from tests.ledger.soak.lives import COMMITTING, Life, Lives, fair_price, finish_of, request
from tests.ledger.soak.people import MODEL
from tests.ledger.soak.scene import EITHER, Item, Scene
from tests.ledger.soak.sprints import Sprints

MUCH = 1 << 61
REQUESTS: dict[str, dict[str, Any]] = {
    "another network": {"network": "other"}, "another version": {"version": VERSION + 1},
    "no such model": {"model": "none"},
    "no tokens": {"max_tokens": 0}, "too many tokens": {"max_tokens": 5000}, "no prompt": {"prompt_tokens_max": 0},
    "parameters that do not exist": {"params": Params(top_p_milli=500)}, "price too low": {"max_price_micro": 0},
    "deadline far ahead": {"deadline_height": 10**6}, "too much money": {"prompt_tokens_max": 16_000},
    "nonce far ahead": {"client_nonce": 2**63 - 1},
}


def give(scene: Scene, lives: Lives, sprints: Sprints, taken: list[tuple[bytes, Item]], count: int) -> None:
    """Put `count` wrong records. taken: (sender, record) applied a few blocks ago; none may be applied again."""
    started = (life for life in lives.live.values() if not life.start_at)
    known = [(life, found) for life in started if (found := scene.view.inference(life.id)) is not None]
    for _ in range(count):
        pick = scene.rng.randrange(11)
        if pick == 10:
            sprints.wrong()
        elif pick == 0:
            _garbage(scene)
        elif pick == 1 and taken:
            _again(scene, *scene.rng.choice(taken))
        elif pick in (2, 3):
            _start(scene)
        elif pick in (4, 5) or not known:
            scene.rng.choice(OPS)(scene)
        else:
            scene.rng.choice(OF_LIVES)(scene, *scene.rng.choice(known))


def _garbage(scene: Scene) -> None:
    kind = scene.rng.choice(list(RecordKind))
    scene.put(scene.anybody(), kind, scene.rng.randbytes(scene.rng.randrange(200)), "garbage")


def _again(scene: Scene, sender: bytes, item: Item) -> None:
    """Put bytes that were applied before, from the same sender or another."""
    kind = item.record.kind
    # it may have come before its Start, or its inference is pruned
    waits = kind in (RecordKind.FINISH, RecordKind.OUTPUT, RecordKind.BUSY, RecordKind.PLANT_COMMIT)
    scene.put(
        sender if scene.chance(700) else scene.anybody(), kind, item.record.body, EITHER + "again" if waits else "again"
    )


def _start(scene: Scene) -> None:
    rng, client, agent = scene.rng, scene.rng.choice(scene.people.clients), scene.anybody()
    drawn, wrong = scene.height - 1, rng.choice([*REQUESTS, *OTHERWISE])
    if wrong in REQUESTS:
        signed = request(scene, client, client, 20, **REQUESTS[wrong])
        enough = 16_000 * fair_price(scene, MODEL)
        if wrong == "too much money" and scene.view.account(client.public).balance_micro >= enough:
            wrong = EITHER + wrong
    elif wrong == "not signed":
        signed = replace(request(scene, client, client, 20), signature=rng.randbytes(64))
    elif wrong == "signed by a stranger":
        signed = request(scene, client, scene.key(scene.anybody()), 20)
    elif wrong == "nonce used":
        if not (high := scene.view.account(client.public).nonce_high):
            return
        signed = request(scene, client, client, 20, client_nonce=high)
    else:
        drawn = {"draw too old": scene.height - 40, "draw not decided": scene.height}.get(wrong, drawn)
        signed = request(scene, client, client, 0 if wrong == "deadline past" else 20, draw_height=max(drawn, 0))
    named = rng.choice([node for node in scene.nodes if node != agent]) if wrong == "another's start" else agent
    scene.put(agent, RecordKind.START, StartRecord(signed, named), EITHER + wrong if drawn < 0 else wrong)


OTHERWISE = (
    "not signed", "signed by a stranger", "nonce used", "deadline past", "draw too old", "draw not decided",
    "another's start",
)


# -- about inferences that the chain knows ------------------------------------------------------------------------


def _finish(scene: Scene, life: Life, inference: Inference) -> None:
    if not life.executor:
        return
    stranger = next((node for node in scene.nodes if node not in inference.candidates), None)
    changes: dict[str, dict[str, Any]] = {
        "too many tokens": {"output_tokens": 25}, "no tokens": {"output_tokens": 0},
        "too long a prompt": {"prompt_tokens": 21},
        "a length that is none": {"finish_reason": FinishReason.LENGTH, "output_tokens": 1},
        "no prompt": {"prompt_tokens": 0},
        "nothing added": {"taken_over": life.tokens}, "more taken over": {"taken_over": 2**32 - 1},
    } | ({"not drawn": {"executor": stranger}} if stranger else {})
    wrong = scene.rng.choice([*changes, "not signed"])
    signed = finish_of(scene, life, **changes.get(wrong, {}))
    if wrong == "not signed":
        signed = replace(signed, signature=scene.rng.randbytes(64))
    scene.put(scene.anybody(), RecordKind.FINISH, signed, wrong)


def _output(scene: Scene, life: Life, inference: Inference) -> None:
    other = scene.rng.choice([node for node in scene.nodes if node != inference.agent])
    if scene.chance(500):
        scene.put(other, RecordKind.OUTPUT, OutputRecord(life.id, other, *life.output), "not its agent")
    else:
        scene.put(other, RecordKind.OUTPUT, OutputRecord(life.id, inference.agent, *life.output), "another's report")


def _busy(scene: Scene, life: Life, inference: Inference) -> None:
    node = next((node for node in scene.nodes if node not in inference.candidates or node in inference.busy), None)
    if node is None or scene.chance(300):
        named = inference.candidates[0] if inference.candidates else life.agent
        signed = SignedBusy(BusyRecord(life.id, named, "x"), scene.rng.randbytes(64))
        scene.put(scene.anybody(), RecordKind.BUSY, signed, "not signed")
    else:
        busy = BusyRecord(life.id, node, "again")
        signature = scene.key(node).sign(Domain.BUSY, scene.network, encode(busy))
        scene.put(scene.anybody(), RecordKind.BUSY, SignedBusy(busy, signature), "not drawn, or said")


def _commit(scene: Scene, life: Life, inference: Inference) -> None:
    node = scene.anybody()
    member = inference.status in COMMITTING and node in inference.committees[-1].members
    if not member:  # the committee of this block's records is the one the chain has now
        scene.put(node, RecordKind.VERDICT_COMMIT, VerdictCommit(life.id, node, scene.rng.randbytes(32)), "not asked")
    else:
        other = scene.rng.choice([key for key in scene.nodes if key != node])
        commit = VerdictCommit(life.id, node, scene.rng.randbytes(32))
        scene.put(other, RecordKind.VERDICT_COMMIT, commit, "another's commitment")


def _verdict(scene: Scene, life: Life, inference: Inference) -> None:
    """A reveal that is too early, from a stranger, or not of what was committed to."""
    committee = inference.committees[-1] if inference.committees else None
    known = [
        verdict for (node, at), verdict in life.verdicts.items()
        if committee and at == committee.height and node in scene.nodes
    ]
    if not known:
        return
    verdict = scene.rng.choice(known)
    if inference.status != Status.REVEALING.value:
        scene.put(verdict.validator, RecordKind.VERDICT, verdict, "not its time")
        return
    other = scene.rng.choice([key for key in scene.nodes if key != verdict.validator])
    change, sender, wrong = scene.rng.choice([
        (
            {"kind": VerdictKind.INVALID if verdict.valid else VerdictKind.VALID}, verdict.validator,
            "not what was committed",
        ),
        ({"salt": bytes(32)}, verdict.validator, "another salt"), ({"numbers": ()}, verdict.validator, "no numbers"),
        ({}, other, "another's verdict"), ({"validator": other}, other, "copied"),
    ])
    if wrong != "no numbers" or verdict.numbers:
        scene.put(sender, RecordKind.VERDICT, replace(verdict, **change), wrong)


def _plant(scene: Scene, life: Life, inference: Inference) -> None:
    node = scene.anybody()
    other = scene.rng.choice([key for key in scene.nodes if key != node])
    finisher = inference.finish.record.executor if inference.finish else b""
    pick = scene.rng.randrange(3)
    if pick == 0:
        scene.put(node, RecordKind.PLANT_COMMIT, PlantCommit(other, scene.rng.randbytes(32)), "another's plant")
    elif pick == 1 or finisher not in scene.nodes:
        stranger = node if node != finisher else other
        scene.put(
            stranger, RecordKind.PLANT_REVEAL, PlantReveal(life.id, stranger, "int4", bytes(32)), "not its executor"
        )
    else:
        scene.put(finisher, RecordKind.PLANT_REVEAL, PlantReveal(life.id, finisher, "int4", bytes(32)), "no such plant")


OF_LIVES: tuple[Callable[[Scene, Life, Inference], None], ...] = (
    _finish, _finish, _output, _busy, _commit, _verdict, _verdict, _plant
)


# -- account transactions ------------------------------------------------------------------------------------------


def _body(scene: Scene) -> None:
    """A body that the ledger must refuse, with a valid signature and nonce."""
    rng, client = scene.rng, scene.rng.choice(scene.people.clients)
    foreign = scene.key(scene.anybody())  # clients own nothing
    owner = scene.rng.choice(scene.people.owners)
    new = scene.people.make()
    bodies: list[tuple[str, Any, Body]] = [
        ("too much money", client, Transfer(owner.public, MUCH)),
        ("another's node", client, Deposit(foreign.public, 1)),
        ("another's node", client, Withdraw(foreign.public, 1)), ("another's node", client, Unregister(foreign.public)),
        ("no such node", owner, Deposit(rng.randbytes(32), 1)),
        ("too much collateral", owner, Withdraw(foreign.public, MUCH)),
        ("too much money", owner, Deposit(foreign.public, MUCH)),
        ("its own key", client, Delegate(client.public, 1, 1, 10**6)),
        ("expired", client, Delegate(rng.randbytes(32), 1, 1, scene.height)),
        ("no such key", client, Revoke(rng.randbytes(32))),
        ("no weight", client, Propose(ChangeEconomy((("withdraw_wait", 5),)))),
        ("no proposal", owner, Vote(rng.randbytes(32), True)),
        ("no such rule", owner, Propose(ChangeEconomy((("nothing", 5),)))),
        ("no such model", owner, Propose(RetireModel("none"))),
        ("out of bounds", owner, Propose(ChangeChecks((("dispute_committee", 1),)))),
        ("no consent", client, replace(register(scene, client, foreign, (MODEL,)), proof=rng.randbytes(64))),
        ("another's node", client, register(scene, client, foreign, (MODEL,))),
        ("no such model", client, register(scene, client, new, ("none",))),
        ("no money for a place", new, register(scene, new, scene.people.make(), (MODEL,))),
        ("another's node", client, rotation(scene, client, foreign, new)),
        ("no consent", owner, replace(rotation(scene, owner, foreign, new), new_proof=rng.randbytes(64))),
        ("a key in use", owner, rotation(scene, owner, foreign, scene.key(scene.anybody()))),
    ]
    wrong, key, body = rng.choice(bodies)
    say(scene, key, body, wrong)


def _form(scene: Scene) -> None:
    """An account transaction that must be refused whatever its body."""
    key, other = scene.rng.sample(scene.people.clients, 2)
    op = sign_op(key, scene.network, scene.nonce(key.public), Transfer(other.public, 1))
    used = scene.view.account(key.public).nonce_high
    forms: list[tuple[str, SignedOp]] = [
        ("not signed", replace(op, signature=scene.rng.randbytes(64))),
        ("signed by another", replace(op, op=replace(op.op, account=other.public))),
        ("nonce far ahead", sign_op(key, scene.network, used + 2**40, Cap(0, 0))),
        ("another network", sign_op(key, "other", op.op.nonce, Cap(0, 0))),
        ("changed", replace(op, op=replace(op.op, nonce=op.op.nonce + 1))),
    ]
    if used:
        forms.append(("nonce used", sign_op(key, scene.network, used, Cap(0, 0))))
    wrong, signed = scene.rng.choice(forms)
    scene.put(scene.anybody(), RecordKind.OP, signed, wrong)


OPS = (_body, _body, _form)
