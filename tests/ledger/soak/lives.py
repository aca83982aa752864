"""Lives of inferences: each has a course drawn at its beginning, and continues by what the chain says about it.

Law: every record sent here is meant well and comes from a node that may send it. Its order within a block, and what
other nodes do, are random.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import (
    VERSION,
    BusyRecord,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    PlantCommit,
    PlantReveal,
    RecordKind,
    Request,
    RevealedRow,
    SignedBusy,
    SignedFinish,
    SignedRequest,
    StartRecord,
    Status,
    Verdict,
    VerdictCommit,
    VerdictKind,
    plant_commitment,
    verdict_commitment,
)
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.ledger.money.accounts import limits
from p2p.ledger.money.price import price_of
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.models import models
from p2p.ledger.state.records import Inference
from p2p.verification.duty import reveal_positions
from tests.ledger.lab import false_row, true_row
from tests.ledger.soak.people import FAULTS, FORGER, LIAR, OTHER_KERNELS, SILENT, SLOPPY, WILD
from tests.ledger.soak.scene import Scene

HASH = b"\x05" * 32
COMMITTING = (Status.VALIDATING.value, Status.DISPUTED.value, Status.APPEALED.value)


@dataclass
class Life:
    """The planned course of one inference. Heights *_at: when a record is sent; 0 = never, or already sent."""

    signed: SignedRequest
    agent: bytes
    executor: bytes  # the node that will finish it; b'' = none
    tokens: int
    start_at: int
    finish_at: int
    output_at: int
    output: tuple[bytes, int]  # (hash, tokens) that the agent reports
    faulty: bool
    busy: tuple[bytes, ...] = ()  # executors that decline
    plant: tuple[str, bytes] | None = None  # (fault, salt)
    # the verdicts that were committed to, by (validator, height of the committee)
    verdicts: dict[tuple[bytes, int], Verdict] = field(default_factory=dict)

    @property
    def id(self) -> bytes:
        return bytes(self.signed.inference_id)

    @property
    def hidden(self) -> bool:
        """Its executor withholds the payload."""
        return self.id[0] < 8


def request(scene: Scene, client: Key, signer: Key, deadline: int = 0, **change: object) -> SignedRequest:
    """A signed request of `client`. change: fields of Request with other values."""
    fields = {
        "version": VERSION, "network": scene.network, "account": client.public, "client_nonce": 0,
        "model": _model(scene), "body_hash": bytes(32),
        "params": Params(), "prompt_tokens_max": 20, "max_tokens": 24, "max_price_micro": 100_000,
        "deadline_height": scene.height + deadline, "signer": signer.public, "draw_height": max(scene.height - 1, 0),
    } | change
    fields["client_nonce"] = fields["client_nonce"] or scene.nonce(client.public)
    body = Request(**fields)  # type: ignore[arg-type]
    return SignedRequest(body, signer.sign(Domain.REQUEST, scene.network, encode(body)))


def _model(scene: Scene) -> str:
    live = [spec.model for spec in models(scene.view) if not spec.retired]
    return scene.rng.choice(live) if scene.chance(100) else live[0]


class Lives:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.live: dict[bytes, Life] = {}

    def begin(self, count: int) -> None:
        """Begin `count` lives and send their first records in this block."""
        for _ in range(count):
            life = self._new()
            self.live[life.id] = life
            self._advance(life)

    def _new(self) -> Life:
        scene, rng = self.scene, self.scene.rng
        client = rng.choice(scene.people.owners if scene.chance(120) else scene.people.clients)
        agent, drawn_at = scene.anybody(), max(scene.height - 1 - scene.chance(300), 0)
        signed = request(scene, client, self._signer(client), 4 + rng.randrange(30), draw_height=drawn_at)
        beacon = scene.view.beacon(drawn_at)
        assert beacon is not None
        able = WeightedDraw(serving(scene.ctx, signed.request.model))
        drawn = draw_executors(beacon, signed.inference_id, able, agent, MAX_CANDIDATES)
        busy = drawn[: rng.randrange(3) if scene.chance(150) else 0]
        left = [node for node in drawn if node not in busy]
        # a planted fault needs an executor that the client owns
        own = [node for node in left if scene.view.owner_of(node) == client.public and scene.chance(500)]
        executor = (own or left)[0] if left and scene.chance(930) else b""
        number = scene.people.number.get(executor, 0)
        faulty = (number == FORGER and scene.chance(150)) or (number == WILD and scene.chance(50)) or scene.chance(4)
        tokens, start_at = 1 + rng.randrange(24), scene.height + scene.chance(150)
        sloppy = scene.chance(100 if scene.people.number.get(agent) in (SLOPPY, WILD) else 5)
        life = Life(
            signed, agent, executor, tokens, start_at, scene.height + rng.randrange(4), scene.height + rng.randrange(6),
            (bytes(32) if sloppy else HASH, tokens + (sloppy and scene.chance(500))), faulty, busy,
        )
        if scene.chance(10):
            life.output_at = 0
        participant = scene.view.participant(executor) if executor else None
        if participant is not None and participant.owner == client.public:
            life.plant = (rng.choice(FAULTS), digest(b"salt", life.id))
            commit = PlantCommit(executor, plant_commitment(life.id, *life.plant))
            life.faulty = scene.put(executor, RecordKind.PLANT_COMMIT, commit) and scene.chance(700)
            life.finish_at += 1
        return life

    def _signer(self, client: Key) -> Key:
        hot = [key for key in limits(self.scene.view, client.public).hot if key.expires > self.scene.height]
        return self.scene.key(self.scene.rng.choice(hot).key) if hot and self.scene.chance(400) else client

    def advance(self) -> None:
        lives = list(self.live.values())
        self.scene.rng.shuffle(lives)  # when a block is full, it is random which one waits
        for life in lives:
            self._advance(life)

    def _advance(self, life: Life) -> None:
        scene, at = self.scene, self.scene.height
        inference = scene.view.inference(life.id)
        if life.start_at:
            if life.start_at <= at and scene.put(life.agent, RecordKind.START, StartRecord(life.signed, life.agent)):
                life.start_at = 0
            elif life.start_at <= at:
                del self.live[life.id]
                return
        elif inference is None and at > life.signed.request.draw_height + 4:
            del self.live[life.id]  # its Start was refused
            return
        if inference is None or not inference.end_height:
            self._sides(life)
        if inference is not None and inference.committees:
            self._committee(life, inference)
        if inference is not None and inference.end_height:
            self._over(life, inference)

    def _sides(self, life: Life) -> None:
        """The records of agent and executors."""
        scene, at = self.scene, self.scene.height
        for node in life.busy:
            busy = BusyRecord(life.id, node, "full")
            signature = scene.key(node).sign(Domain.BUSY, scene.network, encode(busy))
            scene.put(scene.anybody(), RecordKind.BUSY, SignedBusy(busy, signature))
        life.busy = ()
        if life.executor and life.finish_at and life.finish_at <= at:
            finish = finish_of(scene, life)
            if scene.put(life.agent, RecordKind.FINISH, finish):
                life.finish_at = 0
        due = life.executor and life.output_at and life.output_at <= at
        if due and scene.put(life.agent, RecordKind.OUTPUT, OutputRecord(life.id, life.agent, *life.output)):
            life.output_at = 0

    def _committee(self, life: Life, inference: Inference) -> None:
        scene, committee = self.scene, inference.committees[-1]
        if inference.status in COMMITTING:
            for node in committee.members:
                if all(seen.validator != node for seen in committee.commits) and self._speaks(node, 850):
                    verdict = self.verdict(life, inference, node)
                    if scene.put(
                        node, RecordKind.VERDICT_COMMIT, VerdictCommit(life.id, node, verdict_commitment(verdict))
                    ):
                        life.verdicts[node, committee.height] = verdict
        elif inference.status == Status.REVEALING.value:
            for seen in committee.commits:
                known = life.verdicts.get((seen.validator, committee.height))
                if known and all(
                    v.validator != seen.validator for v in committee.verdicts
                ) and self._speaks(seen.validator, 900):
                    scene.put(seen.validator, RecordKind.VERDICT, known)

    def _speaks(self, node: bytes, milli: int) -> bool:
        quiet = self.scene.people.number.get(node) == SILENT
        return node in self.scene.nodes and self.scene.chance(150 if quiet else milli)

    def verdict(self, life: Life, inference: Inference, node: bytes) -> Verdict:
        """The verdict of `node`: the truth, unless it is a liar; sometimes that of a node that checked nothing."""
        scene, number = self.scene, self.scene.people.number.get(node, 0)
        assert inference.finish is not None
        lies = scene.chance(120 if number == LIAR else 60 if number == WILD else 1)
        valid, invents = life.faulty is lies, number == WILD and scene.chance(50)
        length = 0 if not valid and scene.chance(300) else inference.finish.record.output_tokens
        ratio = 0 if length == 0 else -2000 + scene.rng.randrange(500) if valid else 20_000
        rows = reveal_positions(inference.committees[-1].beacon, life.id, node, length)
        off = {OTHER_KERNELS: 40, WILD: 130}.get(number, 0)  # thousandths of a nat from all other numbers
        shown = ((at, (false_row if invents else true_row)(life.id, at)) for at in rows)
        numbers = tuple(RevealedRow(at, tuple((token, logprob - off) for token, logprob in row)) for at, row in shown)
        # a validator without the payload may be asked again
        salt = digest(b"salt", life.id, node, inference.committees[-1].height.to_bytes(8, "big"))
        if scene.chance(950 if life.hidden else 10):
            return Verdict(life.id, node, VerdictKind.WITHHELD, "nobody has it", 0, 0, (), salt)
        kind = VerdictKind.VALID if valid else VerdictKind.INVALID
        return Verdict(life.id, node, kind, "" if valid else "because", ratio, length, numbers, salt)

    def _over(self, life: Life, inference: Inference) -> None:
        scene = self.scene
        if life.plant and not inference.fault and inference.finish is not None:
            window = scene.ctx.checks.plant_window
            if scene.height <= inference.end_height + window and scene.chance(700):
                scene.put(life.executor, RecordKind.PLANT_REVEAL, PlantReveal(life.id, life.executor, *life.plant))
                return
            if scene.height <= inference.end_height + window:
                return
        del self.live[life.id]


def finish_of(scene: Scene, life: Life, **change: object) -> SignedFinish:
    fields = {
        "inference_id": life.id, "executor": life.executor, "artifact_root": bytes(32), "output_hash": HASH,
        "prompt_tokens": 15,
        "output_tokens": life.tokens, "finish_reason": FinishReason.STOP,
    } | change
    record = FinishRecord(**fields)  # type: ignore[arg-type]
    return SignedFinish(record, scene.key(record.executor).sign(Domain.FINISH, scene.network, encode(record)))


def fair_price(scene: Scene, model: str) -> int:
    spec = next(spec for spec in models(scene.view) if spec.model == model)
    return price_of(scene.view, spec)
