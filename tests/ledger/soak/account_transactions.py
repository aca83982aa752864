"""Account transactions of all kinds.

Law: each is meant well and signed by the account's own key; only the ledger says whether the state allows it.
"""

from __future__ import annotations

from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.types import RecordKind
from p2p.ledger.governance import OPEN, proposals
from p2p.ledger.money.accounts import limits
from p2p.ledger.money.collateral import MAX_WITHDRAWALS
from p2p.ledger.rules.models import models
from p2p.ledger.rules.ops import (
    AddModel,
    Appeal,
    Body,
    Cap,
    Change,
    ChangeChecks,
    ChangeEconomy,
    ChangeModel,
    Delegate,
    Deposit,
    Propose,
    Register,
    RetireModel,
    Revoke,
    Rotate,
    Transfer,
    Unregister,
    Vote,
    Withdraw,
    consent,
    consent_to_rotate,
    sign_op,
)
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Participant
from tests.ledger.soak.people import MODEL, NEW
from tests.ledger.soak.scene import Scene

CHANGES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("emission_micro", (0, 10**5, 10**6)), ("burn_share_milli", (0, 50, 333)), ("validator_share_milli", (0, 100, 501)),
    ("withdraw_wait", (3, 8, 25)), ("slash_milli", (100, 200, 1000)), ("bounty_milli", (0, 500, 1000)),
    ("owner_cap_milli", (200, 300, 1000)),
    ("output_window", (6, 8, 12)), ("accuse_penalty_micro", (0, 777, 10_000)), ("keep_epochs", (1, 2, 3)),
    ("price_step_milli", (0, 20, 50)),
)


def say(scene: Scene, key: Key, body: Body, wrong: str = "", nonce: int = 0) -> bool:
    return scene.put(
        scene.anybody(), RecordKind.OP, sign_op(key, scene.network, nonce or scene.nonce(key.public), body), wrong
    )


def give(scene: Scene, count: int) -> None:
    kinds = (_transfer, _collateral, _collateral, _hot, _hot, _cap, _vote, _vote, _node, _propose)
    for _ in range(count):
        scene.rng.choice(kinds)(scene)
    if scene.chance(150):
        _rotate(scene)
    if scene.chance(500):
        _appeal(scene)


def _some(scene: Scene, amount: int) -> int:
    return 1 + scene.rng.randrange(max(amount // 8, 1))


def _owned(scene: Scene) -> tuple[Key, Participant]:
    participant = scene.rng.choice([p for p in scene.participants if not p.leaving])
    return scene.key(participant.owner), participant


def _transfer(scene: Scene) -> None:
    key, to = scene.rng.sample(scene.people.accounts, 2)
    say(scene, key, Transfer(to.public, _some(scene, scene.view.account(key.public).balance_micro)))


def _collateral(scene: Scene) -> None:
    key, node = _owned(scene)
    if node.collateral_micro > 10 and len(node.withdrawals) < MAX_WITHDRAWALS - 2 and scene.chance(400):
        say(scene, key, Withdraw(node.node, _some(scene, node.collateral_micro)))
    else:
        say(scene, key, Deposit(node.node, _some(scene, min(scene.view.account(key.public).balance_micro, 10**7))))


def _hot(scene: Scene) -> None:
    client = scene.rng.choice(scene.people.clients)
    key = scene.rng.choice(scene.people.hot[client.public])
    known = {hot.key for hot in limits(scene.view, client.public).hot}
    if key.public in known and scene.chance(300):
        say(scene, client, Revoke(key.public))
    else:
        say(scene, client, Delegate(key.public, 10**6, 10**5, scene.height + 1 + scene.rng.randrange(60)))


def _cap(scene: Scene) -> None:
    epoch = scene.rng.choice([0, 0, 10**4, 10**6])
    say(scene, scene.rng.choice(scene.people.clients), Cap(epoch, scene.rng.choice([0, 0, 10**4])))


def _node(scene: Scene) -> None:
    """A newcomer registers, a newcomer leaves, or a node changes its offer. Genesis peers never leave."""
    new = [p for p in scene.participants if scene.people.number.get(p.node, NEW) == NEW and not p.leaving]
    if new and scene.chance(300):
        leaver = scene.rng.choice(new)
        say(scene, scene.key(leaver.owner), Unregister(leaver.node))
    elif len(new) < 8 and scene.chance(300):
        owner, node = scene.rng.choice(scene.people.owners), scene.people.make()
        say(scene, owner, register(scene, owner, node, (MODEL,)))
    else:
        owner, participant = _owned(scene)
        offered = tuple(spec.model for spec in models(scene.view) if not spec.retired)
        say(scene, owner, register(scene, owner, scene.key(participant.node), offered, scene.rng.choice([0, 0, 0, 3])))


def register(scene: Scene, account: Key, node: Key, offered: tuple[str, ...], floor: int = 0) -> Register:
    proof = node.sign(Domain.NODE, scene.network, consent(account.public))
    return Register(node.public, offered, ("vllm-cpu-bf16",), floor, "somewhere", proof)


def _rotate(scene: Scene) -> None:
    owner, participant = _owned(scene)
    old, new = scene.key(participant.node), scene.people.make()
    scene.people.number[new.public] = scene.people.number.get(old.public, NEW)
    say(scene, owner, rotation(scene, owner, old, new))


def rotation(scene: Scene, account: Key, old: Key, new: Key) -> Rotate:
    words = consent_to_rotate(account.public, old.public, new.public)
    return Rotate(
        old.public, new.public, old.sign(Domain.NODE, scene.network, words), new.sign(Domain.NODE, scene.network, words)
    )


def _appeal(scene: Scene) -> None:
    """Appeal a dispute that was lost and not appealed yet."""
    found = [
        (participant.owner, one) for participant in scene.participants for one in open_disputes(
            scene.view, participant.node
        )
        if (inference := scene.view.inference(one)) is not None and inference.appeal is None
        and inference.appeal_until >= scene.height
    ]
    if found:
        owner, inference_id = scene.rng.choice(found)
        say(scene, scene.key(owner), Appeal(inference_id))


def _propose(scene: Scene) -> None:
    if scene.chance(300):
        say(scene, scene.rng.choice(scene.people.owners), Propose(_change(scene)))


def _change(scene: Scene) -> Change:
    rng = scene.rng
    extra = [spec.model for spec in models(scene.view) if not spec.retired and spec.model != MODEL]
    pick = rng.randrange(10)
    if pick == 0 and len(extra) < 3:
        return AddModel(ModelSpec(f"m{scene.height}", bytes(32), bytes(32), "bfloat16", 12, 2, 1024, cost_milli=1500))
    if pick == 1 and extra:
        return RetireModel(rng.choice(extra))
    if pick == 2:
        return ChangeModel(rng.choice([MODEL, *extra]), (("price_micro", 5 + rng.randrange(20)),))
    if pick == 3:
        return ChangeChecks((("plant_window", rng.choice([4, 6, 30])),))
    name, values = rng.choice(CHANGES)
    return ChangeEconomy(((name, rng.choice(values)),))


def _vote(scene: Scene) -> None:
    known = [
        (key, {cast.account for cast in found.votes}) for key, found in proposals(scene.view) if found.state == OPEN
    ]
    if known:
        key, cast = scene.rng.choice(known)
        left = [owner for owner in scene.people.owners if owner.public not in cast]
        if left:
            say(scene, scene.rng.choice(left), Vote(key, scene.chance(800)))
