"""A ledger without a network: participants with keys, requests, and committees whose verdicts a test chooses. Law: only
real records and real ends of blocks; nothing is written into the state by hand unless a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, NetworkId, digest
from p2p.base.types import (
    VERSION,
    BusyRecord,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    PlantCommit,
    PlantReveal,
    Record,
    RecordKind,
    Request,
    RevealedRow,
    SignedBusy,
    SignedFinish,
    SignedRequest,
    StackClass,
    StartRecord,
    Verdict,
    VerdictCommit,
    VerdictKind,
    plant_commitment,
    verdict_commitment,
)
from p2p.ledger.apply_record import apply_record
from p2p.ledger.end_of_block import end_of_block
from p2p.ledger.genesis import check_conservation, first_state
from p2p.ledger.rules.context import Context
from p2p.ledger.state.records import Inference, Reputation
from p2p.ledger.state.view import View
from p2p.verification.duty import reveal_positions

CLIENT = Key(b"\x70" * 32)
PRICE, PROMPT = 10, 20
WINDOW, REVEAL = 5, 4
MAX_TRIES = 60  # requests, until the wanted executor is among the candidates
# no appeals; they are tested in test_appeals.py
RULES = CheckRules(reveal_window=REVEAL, min_checked_tokens=50, plant_window=6, appeal_window=0)
SALT = b"\x55" * 32
TOKENS_HASH = b"\x05" * 32  # of the output that the agent streams
NO_CAP = 1 << 62  # the emission is not capped by the fees
# prices that do not move, for tests of something else
STEADY = EconomyRules(price_low_milli=0, price_high_milli=1000, emission_cap_milli=NO_CAP)


def reputations(points: int) -> tuple[Reputation, ...]:
    """Reputation of `points` for the model and stack of the lab's answers."""
    return (Reputation("toy", StackClass.CPU_BF16.value, points),)


def true_row(inference_id: bytes, position: int) -> tuple[tuple[int, int], ...]:
    """What the right model gives at ranks 9 to 12, which a first committee shows."""
    raw = digest(b"row", inference_id, position.to_bytes(4, "big"))
    return tuple((raw[i] * 4 + i, -3000 - 100 * i - raw[i + 4]) for i in range(4))


def false_row(inference_id: bytes, position: int) -> tuple[tuple[int, int], ...]:
    """Invented numbers, the same for all that call this."""
    return tuple((token + 5000, logprob) for token, logprob in true_row(inference_id, position))


class Lab:
    """peers: how many. owners: peer number -> the peer whose owner it shares; without it each peer has its own."""

    def __init__(
        self, peers: int = 8, epoch_blocks: int = 1000, owners: dict[int, int] | None = None, rules: CheckRules = RULES,
        **change: Any
    ) -> None:
        self.keys = [Key(bytes([i + 1]) * 32) for i in range(peers)]
        self.owners = [Key(bytes([100 + (owners or {}).get(i, i)]) * 32) for i in range(peers)]
        self.by_node = {key.public: key for key in self.keys}
        self.nodes = [key.public for key in self.keys]
        self.accounts = [CLIENT.public, *dict.fromkeys(key.public for key in self.owners)]
        self.genesis = replace(
            Genesis(
                VERSION, "n", 0, tuple(
                    GenesisPeer(k.public, o.public, 10, ("toy",)) for k, o in zip(self.keys, self.owners, strict=True)
                ),
                tuple(GenesisAccount(account, 10**9) for account in self.accounts),
                (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, 2048),),
                validation_window=WINDOW, epoch_blocks=epoch_blocks, checks=rules, economy=STEADY,
            ), **change,
        )
        self.view = View(lambda key: None)
        first_state(self.view, self.genesis, digest(b"beginning"))
        self.height = 1  # of the block that is being filled
        self.nonces: dict[bytes, int] = {}

    # -- blocks and records -----------------------------------------------------------------------------------------

    @property
    def ctx(self) -> Context:
        return Context(self.view, self.genesis, self.height)

    @property
    def network(self) -> NetworkId:
        return self.genesis.network

    def block(self, count: int = 1) -> None:
        """End the block at self.height, `count` times."""
        for _ in range(count):
            end_of_block(self.ctx, digest(b"beacon", self.height.to_bytes(8, "big")))
            assert check_conservation(self.view, self.accounts)
            self.height += 1

    def put(self, sender: bytes, kind: RecordKind, body: object) -> None:
        apply_record(self.ctx, sender, Record(kind, encode(body)))

    def inference(self, inference_id: bytes) -> Inference:
        found = self.view.inference(inference_id)
        assert found is not None
        return found

    def status(self, inference_id: bytes) -> str:
        return self.inference(inference_id).status

    # -- one inference ----------------------------------------------------------------------------------------------

    def start(
        self, account: Key = CLIENT, agent: int = 0, deadline: int = 500, signer: Key | None = None
    ) -> SignedRequest:
        if self.height == 1:
            self.block()
        nonce = self.nonces[account.public] = self.nonces.get(account.public, 0) + 1
        by = signer or account
        until, drawn = self.height + deadline, self.height - 1
        body = Request(
            VERSION, self.network, account.public, nonce, "toy", bytes(32), Params(), 50, 50, 100, until, by.public,
            drawn,
        )
        signed = SignedRequest(body, by.sign(Domain.REQUEST, self.network, encode(body)))
        self.put(self.nodes[agent], RecordKind.START, StartRecord(signed, self.nodes[agent]))
        return signed

    def finish(
        self, inference_id: bytes, executor: bytes | None = None, tokens: int = 10, *, output: bool = True,
        stack: str = StackClass.CPU_BF16.value,
    ) -> bytes:
        """The executor's finish record goes on chain. output: the agent reports the same output."""
        executor = executor or self.inference(inference_id).candidates[0]
        record = FinishRecord(inference_id, executor, bytes(32), TOKENS_HASH, PROMPT, tokens, FinishReason.STOP, stack)
        signature = self.by_node[executor].sign(Domain.FINISH, self.network, encode(record))
        found = self.inference(inference_id)  # of candidates after the first the agent brings the finish record
        sender = executor if executor == found.candidates[0] else found.agent
        self.put(sender, RecordKind.FINISH, SignedFinish(record, signature))
        if output:
            self.output(inference_id, tokens)
        return executor

    def busy(self, inference_id: bytes, *nodes: bytes, reason: str = "no free place") -> None:
        """These candidates sign that they are busy; the agent puts it on chain."""
        for node in nodes:
            record = BusyRecord(inference_id, node, reason)
            signed = SignedBusy(record, self.by_node[node].sign(Domain.BUSY, self.genesis.network, encode(record)))
            self.put(self.inference(inference_id).agent, RecordKind.BUSY, signed)

    def output(self, inference_id: bytes, tokens: int = 10, output_hash: bytes = TOKENS_HASH) -> None:
        agent = self.inference(inference_id).agent
        self.put(agent, RecordKind.OUTPUT, OutputRecord(inference_id, agent, output_hash, tokens))

    def drawn(self, *, executor: bytes | None = None, account: Key = CLIENT, tokens: int = 10) -> bytes:
        """The id of a new inference with Start, finish, and the beacon that draws its committee."""
        signed = self.start(account, self.agent_for(executor))
        for _ in range(MAX_TRIES):
            if executor is None or executor in self.inference(signed.inference_id).candidates:
                break
            signed = self.start(account, self.agent_for(executor))
        self.finish(signed.inference_id, executor, tokens)
        self.block(1 + self.genesis.validation_delay)
        return signed.inference_id

    def agent_for(self, executor: bytes | None) -> int:
        return 1 if executor == self.nodes[0] else 0

    # -- validators ---------------------------------------------------------------------------------------------------

    def verdict(
        self, inference_id: bytes, node: bytes, *, valid: bool = True, llr: int | None = None, stage0: bool = False,
        row: Callable[[bytes, int], tuple[tuple[int, int], ...]] = true_row, salt: bytes = SALT, withheld: bool = False,
    ) -> Verdict:
        """A well-formed verdict of `node`. llr: its ratio, by default one that fits `valid`. stage0: a refusal without
        a prefill."""
        inference = self.inference(inference_id)
        assert inference.finish is not None
        if withheld:
            return Verdict(inference_id, node, VerdictKind.WITHHELD, "nobody has it", 0, 0, (), salt)
        length = 0 if stage0 else inference.finish.record.output_tokens
        positions = reveal_positions(inference.committees[-1].beacon, inference_id, node, length)
        ratio = (0 if stage0 else -2000 if valid else 20_000) if llr is None else llr
        numbers = tuple(RevealedRow(at, row(inference_id, at)) for at in positions)
        kind, reason = (VerdictKind.VALID, "") if valid else (VerdictKind.INVALID, "because")
        return Verdict(inference_id, node, kind, reason, ratio, length, numbers, salt)

    def commit(self, verdict: Verdict, sender: bytes | None = None) -> None:
        body = VerdictCommit(verdict.inference_id, verdict.validator, verdict_commitment(verdict))
        self.put(sender or verdict.validator, RecordKind.VERDICT_COMMIT, body)

    def reveal(self, verdict: Verdict, sender: bytes | None = None) -> None:
        self.put(sender or verdict.validator, RecordKind.VERDICT, verdict)

    def say(self, verdicts: list[Verdict]) -> None:
        """All commit to these verdicts and reveal them, until the committee is done."""
        for verdict in verdicts:
            self.commit(verdict)
        inference_id = verdicts[0].inference_id
        self.until(inference_id, lambda found: found.committees[-1].revealing)
        for verdict in verdicts:
            self.reveal(verdict)
        committees = len(self.inference(inference_id).committees)

        def moved(found: Inference) -> bool:
            return found.end_height > 0 or found.status == "APPEALABLE" or len(found.committees) > committees

        self.until(inference_id, moved)

    def until(self, inference_id: bytes, good: Callable[[Inference], bool]) -> None:
        for _ in range(2 * (WINDOW + REVEAL) + 2):
            if good(self.inference(inference_id)):
                return
            self.block()
        raise AssertionError("did not come true")

    def members(self, inference_id: bytes) -> tuple[bytes, ...]:
        return self.inference(inference_id).committees[-1].members

    def decide(self, inference_id: bytes, says: Callable[[bytes], dict[str, Any]]) -> Inference:
        """Each committee that is drawn gives the verdicts `says(node)` until the inference has ended; nobody
        appeals."""
        while not self.inference(inference_id).end_height:
            if self.status(inference_id) == "APPEALABLE":
                self.block(self.inference(inference_id).appeal_until + 1 - self.height)
                continue
            self.say([self.verdict(inference_id, node, **says(node)) for node in self.members(inference_id)])
        return self.inference(inference_id)

    # -- plants -------------------------------------------------------------------------------------------------------

    def plant(self, inference_id: bytes, executor: bytes, fault: str = "int4") -> None:
        self.put(executor, RecordKind.PLANT_COMMIT, PlantCommit(executor, plant_commitment(inference_id, fault, SALT)))

    def show(
        self, inference_id: bytes, executor: bytes, fault: str = "int4", salt: bytes = SALT, sender: bytes | None = None
    ) -> None:
        self.put(sender or executor, RecordKind.PLANT_REVEAL, PlantReveal(inference_id, executor, fault, salt))
