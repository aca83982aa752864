"""The ledger as the simulator drives it. Law: real records with real signatures through `apply_record`, and real ends
of blocks; nothing writes into the state by hand, and a record that the ledger refuses is an error of the simulator
unless its caller expects it.

Not simulated: batches of records and their signatures, consensus, the wire.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key, digest
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    PlantCommit,
    PlantReveal,
    Record,
    RecordKind,
    Request,
    SignedFinish,
    SignedRequest,
    StartRecord,
    Verdict,
    VerdictCommit,
    plant_commitment,
    verdict_commitment,
)
from p2p.base.weighted_draw import WeightedDraw
from p2p.ledger.apply_record import apply_record
from p2p.ledger.conduct.reputation import check_milli
from p2p.ledger.end_of_block import end_of_block
from p2p.ledger.genesis import check_conservation, first_state
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.collateral import at_stake
from p2p.ledger.money.price import price_of
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import model_spec
from p2p.ledger.rules.ops import Body, sign_op
from p2p.ledger.state.records import EpochSums, Inference, Participant
from p2p.ledger.state.view import View
from p2p.verification.duty import reveal_positions

NAME, MODEL = "economy", "m"
FAULT, SALT = "fault", digest(b"economy", b"salt of a plant")
STREAMED = digest(b"streamed")  # hash of every output, as executors and honest agents state it
OTHERWISE = digest(b"otherwise")  # what an agent states that contradicts the executor
ANY_PRICE = 1 << 40  # max_price_micro of every request
DEADLINE = 500  # heights ahead


class Network:
    """One chain: its state, and its records of the block that is being made."""

    def __init__(self, genesis: Genesis, seed: int) -> None:
        self.genesis, self.seed = genesis, seed
        self._state: dict[bytes, bytes] = {}
        self.view = View(self._state.get)
        first_state(self.view, genesis, self._random(b"beginning"))
        self.height = 1  # of the block whose records are applied now
        self.nonces: dict[bytes, int] = {}  # account -> the nonce it signed last
        self.accounts = [row.account for row in genesis.accounts]  # all that hold money
        self.block()  # a draw needs a decided height

    @property
    def ctx(self) -> Context:
        """Of the block whose records are applied now."""
        return Context(self.view, self.genesis, self.height)

    def _random(self, what: bytes) -> bytes:
        return digest(b"economy", self.seed.to_bytes(8, "big"), what)

    @property
    def beacon(self) -> bytes:
        """The last block's, which everybody knows before signing a request."""
        found = self.view.beacon(self.height - 1)
        assert found is not None
        return found

    def block(self) -> None:
        """End the block. At an epoch's last one, check that the money adds up and write the changes below the view."""
        ctx = self.ctx
        end_of_block(ctx, self._random(ctx.height.to_bytes(8, "big")))
        self.height += 1
        if ctx.ends_epoch:
            if not check_conservation(self.view, self.accounts) or not self.sums(ctx.epoch).balanced:
                raise AssertionError(
                    f"money was made or lost in the epoch that ends at height {ctx.height}; seed {self.seed}"
                )
            for key, value in self.view.changes.items():
                if value is None:
                    self._state.pop(key, None)
                else:
                    self._state[key] = value
            self.view = View(self._state.get)

    def _put(self, sender: bytes, kind: RecordKind, body: object) -> None:
        apply_record(self.ctx, sender, Record(kind, encode(body)))

    def _nonce(self, account: bytes) -> int:
        self.nonces[account] = self.nonces.get(account, 0) + 1
        return self.nonces[account]

    # -- records ----------------------------------------------------------------------------------------------------

    def request(self, client: Key, prompt_tokens: int, max_tokens: int, deadline: int | None = None) -> SignedRequest:
        """A signed request that is not sent yet. deadline: heights ahead, None: DEADLINE."""
        body = Request(
            VERSION, self.genesis.network, client.public, self._nonce(client.public), MODEL, bytes(32), Params(),
            prompt_tokens, max_tokens, ANY_PRICE, self.height + (deadline or DEADLINE), client.public, self.height - 1,
        )
        return SignedRequest(body, client.sign(Domain.REQUEST, self.genesis.network, encode(body)))

    def start(self, signed: SignedRequest, agent: bytes) -> tuple[bytes, ...]:
        """Returns the drawn executors, in order."""
        self._put(agent, RecordKind.START, StartRecord(signed, agent))
        return self.inference(signed.inference_id).candidates

    def finish(self, inference_id: bytes, executor: Key, tokens: int, stack: str, said: bytes = STREAMED) -> None:
        """The executor's finish record, as the agent brings it, and the agent's record that it streamed `said`."""
        inference = self.inference(inference_id)
        prompt = inference.signed_request.request.prompt_tokens_max
        record = FinishRecord(
            inference_id, executor.public, bytes(32), STREAMED, prompt, tokens, FinishReason.STOP, stack
        )
        signature = executor.sign(Domain.FINISH, self.genesis.network, encode(record))
        self._put(inference.agent, RecordKind.FINISH, SignedFinish(record, signature))
        self._put(inference.agent, RecordKind.OUTPUT, OutputRecord(inference_id, inference.agent, said, tokens))

    def positions(self, inference_id: bytes, validator: bytes, tokens: int) -> tuple[int, ...]:
        """The positions at which a validator of the committee at work must show numbers."""
        return reveal_positions(self.inference(inference_id).committees[-1].beacon, inference_id, validator, tokens)

    def commit(self, verdict: Verdict) -> None:
        body = VerdictCommit(verdict.inference_id, verdict.validator, verdict_commitment(verdict))
        self._put(verdict.validator, RecordKind.VERDICT_COMMIT, body)

    def reveal(self, verdict: Verdict) -> None:
        self._put(verdict.validator, RecordKind.VERDICT, verdict)

    def plant(self, inference_id: bytes, executor: bytes) -> None:
        """Commit, before the answer is finished, to reveal later that it was made faulty on purpose."""
        self._put(executor, RecordKind.PLANT_COMMIT, PlantCommit(executor, plant_commitment(inference_id, FAULT, SALT)))

    def show_plant(self, inference_id: bytes, executor: bytes) -> None:
        self._put(executor, RecordKind.PLANT_REVEAL, PlantReveal(inference_id, executor, FAULT, SALT))

    def may_plant(self, executor: bytes) -> bool:
        conduct = self.view.conduct(executor)
        return conduct.plants * self.ctx.checks.plant_every <= conduct.booked

    def submit(self, account: Key, body: Body) -> None:
        signed = sign_op(account, self.genesis.network, self._nonce(account.public), body)
        self._put(account.public, RecordKind.OP, signed)

    # -- what anybody can read ----------------------------------------------------------------------------------------

    def inference(self, inference_id: bytes) -> Inference:
        found = self.view.inference(inference_id)
        assert found is not None
        return found

    def participant(self, node: bytes) -> Participant | None:
        return self.view.participant(node)

    def serving(self) -> WeightedDraw:
        return WeightedDraw(serving(self.ctx, MODEL))

    def price_micro(self) -> int:
        spec = model_spec(self.view, MODEL)
        assert spec is not None
        return price_of(self.view, spec)

    def check_milli(self, node: bytes, stack: str) -> int:
        """The probability that the next answer of `node` on this stack is checked, in thousandths. It is public, so
        cheats know it."""
        return check_milli(self.ctx, node, MODEL, stack)

    def sums(self, epoch: int) -> EpochSums:
        return earnings.sums(self.view, epoch)

    @property
    def epoch(self) -> int:
        return self.ctx.epoch

    def wealth(self, accounts: list[bytes], nodes: list[bytes]) -> int:
        """Balances and collateral, micro-credits."""
        balances = sum(self.view.account(account).balance_micro for account in accounts)
        return balances + sum(_at_stake(self.view.participant(node)) for node in nodes)


def _at_stake(participant: Participant | None) -> int:
    return at_stake(participant) if participant else 0

