"""One simulated network over epochs. Law: a seed decides everything; operators only send records, and the ledger moves
all money.

At each height committees reveal and commit, executors finish what was started one height before, clients ask, and the
block ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import ENDED, STANDS, VERSION, SignedRequest, Status
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.committees import Committees
from p2p.lab.economy.detection import HONEST
from p2p.lab.economy.network import MODEL, NAME, OTHERWISE, STREAMED, Network
from p2p.lab.economy.operators import Operator, make
from p2p.lab.economy.strategies import BY_NAME, Dealing, Moment
from p2p.ledger.rules.ops import Deposit, Register, Transfer, Unregister, consent

RICH = 10**13  # balance of every account at the beginning, micro-credits
EPOCH = 100  # heights
OUTSIDER = Key(digest(b"economy", b"outsider"))  # a self-dealer's agent: a peer that is no participant
PLANTED = "smaller_model"  # the kind of a planted fault: any kernels see it
MAX_TRIES = 400  # requests that a self-dealer signs to find one that draws its node
ASKED_AGAIN = 3  # times that a client asks an agent that refuses; the request after these is started as it is


@dataclass(frozen=True, slots=True)
class Setting:
    mix: Mapping[str, int]  # strategy's name -> number of operators
    epochs: int
    weight: int = 4  # of one operator's machine; a unit serves EconomyRules.tokens_per_weight tokens in a height
    clients: int = 1000  # accounts that ask
    deposit_micro: int = 0  # collateral of each operator
    validation_window: int = 3  # heights to commit: short, as validators here answer at once
    checks: CheckRules = field(default_factory=CheckRules)
    economy: EconomyRules = field(default_factory=EconomyRules)
    assume: Assumptions = field(default_factory=Assumptions)
    answers_per_node: float | None = None  # of an operator in an epoch at the first price; None: as its weight allows

    def scaled(self) -> EconomyRules:
        """The ledger's rules, with as many tokens to a unit of weight as make `answers_per_node` the demand at which
        the price stays. How fast a machine is the ledger does not care."""
        if self.answers_per_node is None:
            return self.economy
        tokens = self.answers_per_node * self.assume.mean_tokens / self.assume.use / (self.weight * EPOCH)
        return replace(self.economy, tokens_per_weight=max(1, round(tokens)))


class World:
    """One network: its ledger, operators, clients and validators."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.seed, self.assume = setting, seed, setting.assume
        self.rng = np.random.default_rng(seed)
        names = [name for name, count in setting.mix.items() for _ in range(count)]
        self.operators = [make(BY_NAME[name], number, setting.weight) for number, name in enumerate(names)]
        self.clients = [Key(digest(b"economy", b"client", n.to_bytes(4, "big"))) for n in range(setting.clients)]
        self.network = Network(self._genesis(), seed)
        self.of: dict[bytes, Operator] = {node.public: o for o in self.operators for node in o.nodes}
        self.keys: dict[bytes, Key] = {node.public: node for o in self.operators for node in o.nodes}
        foreign = {
            node: bool(self.rng.random() < self.assume.foreign) or self.of[node].strategy.foreign
            for node in sorted(self.of)
        }
        self.committees = Committees(self.network, self.of, foreign, self.assume, setting.checks, self.rng)
        self.agents = [o.nodes[0].public for o in self.operators]  # they are honest agents
        self.otherwise: set[bytes] = set()  # inferences on which the agent's record will contradict the executor's
        self.planted: list[tuple[bytes, bytes]] = []  # (inference id, executor) of planted faults not revealed yet
        self.started: list[tuple[bytes, bytes, str, int]] = []  # (inference id, executor, kind, tokens), to be finished
        self._deposit()
        for operator in self.operators:
            operator.last = self._wealth(operator)

    def _genesis(self) -> Genesis:
        setting, economy = self.setting, self.setting.scaled()
        peers = [
            GenesisPeer(node.public, owner.public, setting.weight // len(o.nodes), (MODEL,))
            for o in self.operators for node, owner in zip(o.nodes, o.owners, strict=True)
        ]
        accounts = [*(a for o in self.operators for a in o.accounts()), *(client.public for client in self.clients)]
        spec = ModelSpec(
            MODEL, bytes(32), bytes(32), "bfloat16", self.assume.price_micro, 1, 1 << 16,
            kernel_distance_milli=self.assume.kernel_distance_milli,
        )
        self._nodes_weight = sum(peer.weight for peer in peers)
        return Genesis(
            VERSION, NAME, 0, tuple(peers), tuple(GenesisAccount(account, RICH) for account in accounts), (spec,),
            validation_window=setting.validation_window, epoch_blocks=EPOCH, checks=setting.checks, economy=economy,
        )

    def _deposit(self) -> None:
        for o in self.operators if self.setting.deposit_micro else ():
            for node, owner in zip(o.nodes, o.owners, strict=True):
                self.network.submit(owner, Deposit(node.public, self.setting.deposit_micro // len(o.nodes)))

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(self.setting.epochs):
            self.epoch()

    def epoch(self) -> None:
        now = self.network.epoch
        while self.network.epoch == now:
            self.height()
        self._close()

    def height(self) -> None:
        network = self.network
        self.committees.reveal()
        self.committees.commit()
        started, self.started = self.started, []
        for inference_id, executor, kind, tokens in started:
            said = OTHERWISE if inference_id in self.otherwise else STREAMED
            network.finish(inference_id, self.keys[executor], tokens, self.committees.stack(executor), said)
            self.committees.watch(inference_id, executor, kind, tokens)
            self.of[executor].spent_micro += self.assume.answer_micro(kind, tokens)
        serving = network.serving()
        for _ in range(int(self.rng.poisson(self._demand()))):
            client = self.clients[int(self.rng.integers(len(self.clients)))]
            length, agent = self._length(), self.agents[int(self.rng.integers(len(self.agents)))]
            signed = network.request(client, self.assume.prompt_tokens, length)
            for _ in range(ASKED_AGAIN):
                if not self._refuses(signed, agent):
                    break
                signed = network.request(client, self.assume.prompt_tokens, length)
            self._expect(serving, signed.request.max_tokens)
            self._start(signed, agent)
        self._deal(serving)
        self._plant(serving)
        self._attack(serving)
        network.block()
        self.committees.after_block()
        self._show_plants()

    def _attack(self, serving: WeightedDraw) -> None:
        """What attackers do in addition; nothing here (attacks.py)."""

    def _refuses(self, signed: SignedRequest, agent: bytes) -> bool:
        """Whether the agent refuses the request because of its draw (attacks.py). The client then asks with another
        request."""
        del signed, agent
        return False

    def _expect(self, serving: WeightedDraw, tokens: int) -> None:
        """Subtract from each node's luck what its weight gets of these tokens in the mean; `_start` adds what it
        really got. That an agent is not drawn for its own requests is part of the luck."""
        total = sum(weight for _, weight in serving.pairs())
        for node, weight in serving.pairs():
            self.of[node].drawn -= tokens * weight / total

    def _length(self) -> int:
        return int(self.assume.answers[int(self.rng.integers(len(self.assume.answers)))])

    def _demand(self) -> float:
        """Mean number of answers that clients ask for in a height, at the price of now."""
        capacity = self._nodes_weight * self.network.genesis.economy.tokens_per_weight
        first = capacity * self.assume.use / self.assume.mean_tokens
        return float(first * (self.assume.price_micro / self.network.price_micro()) ** self.assume.elasticity)

    def _start(self, signed: SignedRequest, agent: bytes, wanted: Operator | None = None) -> None:
        """Start the inference; its executor answers as its strategy says. wanted: an operator that asks itself, so
        no other one answers."""
        candidates = self.network.start(signed, agent)
        executor = next((c for c in candidates if wanted is None or self.of[c] is wanted), None)
        if executor is None:
            return  # nobody serves: the request expires and its escrow returns
        operator, tokens = self.of[executor], signed.request.max_tokens
        operator.drawn += tokens if wanted is None else 0
        known = self.network.participant(executor)
        unknown = wanted is not None and operator.strategy.dealing is Dealing.UNKNOWN
        checked = self.network.check_milli(executor, self.committees.stack(executor))
        kind = operator.strategy.answer(Moment(checked, known.reputation if known else 0, unknown, self.rng))
        operator.count("answers")
        operator.count("cheated", kind != HONEST)
        self.started.append((signed.inference_id, executor, kind, tokens))

    def _deal(self, serving: WeightedDraw) -> None:
        """Operators that ask themselves: the draw is public before a request is signed, so they sign until one draws
        their node."""
        for o in self.operators:
            if o.strategy.dealing is Dealing.NONE:
                continue
            own = o.weight / self._nodes_weight
            for _ in range(int(self.rng.poisson(self._demand() * own * o.strategy.dealt))):
                account = o.owners[0] if o.strategy.dealing is Dealing.KNOWN else o.dealer
                signed = self._drawing(o, account, serving)
                if signed is not None:
                    self._start(signed, OUTSIDER.public, o)
                    o.count("dealt")

    def _plant(self, serving: WeightedDraw) -> None:
        """Honest operators now and then ask their own node and answer with a fault, on purpose."""
        for o in self.operators:
            if o.strategy.name != HONEST or self.rng.random() >= self.assume.plants / EPOCH:
                continue
            if not self._may_plant(o.nodes[0].public):
                continue
            signed = self._drawing(o, o.owners[0], serving)
            if signed is None:
                continue
            self._start(signed, OUTSIDER.public, o)
            started = self.started[-1]
            if started[0] == signed.inference_id:
                self.started[-1] = (*started[:2], PLANTED, started[3])
                self.network.plant(signed.inference_id, started[1])
                self.planted.append((signed.inference_id, started[1]))
                honest, planted = (self.assume.answer_micro(kind, started[3]) for kind in (HONEST, PLANTED))
                o.spent_micro += honest - planted
                o.count("planted")

    def _may_plant(self, node: bytes) -> bool:
        return self.network.may_plant(node) and not any(executor == node for _, executor in self.planted)

    def _show_plants(self) -> None:
        for plant in list(self.planted):
            found = self.network.inference(plant[0])
            if found.status in ENDED:
                self.planted.remove(plant)
                if found.status in (*STANDS, Status.INVALIDATED.value):
                    self.network.show_plant(*plant)

    def _drawing(self, o: Operator, account: Key, serving: WeightedDraw, tokens: int = 0) -> SignedRequest | None:
        """A request of `account` that draws a node of `o`, found by signing up to MAX_TRIES; None where none does.
        tokens: its length, 0 = as clients choose."""
        mine = {node.public for node in o.nodes}
        if not mine & {node for node, _ in serving.pairs()}:
            return None
        tokens = tokens or self._length()
        for _ in range(MAX_TRIES):
            signed = self.network.request(account, self.assume.prompt_tokens, tokens)
            drawn = draw_executors(self.network.beacon, signed.inference_id, serving, OUTSIDER.public, MAX_CANDIDATES)
            if mine & set(drawn):
                return signed
        return None

    # -- an epoch's end ------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Each operator's profit and luck of the epoch."""
        for o in self.operators:
            found = [p for node in o.nodes if (p := self.network.participant(node.public)) is not None]
            o.count("convicted epochs", any(p.convicted_until for p in found))
            o.count("barred epochs", any(p.barred_until for p in found))
            if o.strategy.leaves and len(o.nodes) == 1 and any(p.convicted_until for p in found):
                self._whitewash(o)
            worth = self._wealth(o) - o.spent_micro
            o.profits.append(worth - o.last)
            o.luck.append(o.drawn)
            o.last, o.drawn = worth, 0.0

    def _whitewash(self, o: Operator) -> None:
        """Leave with the old key, and register a new one of another account, whose place the old account pays. The
        ledger gives a newcomer no weight."""
        rules = self.network.genesis.economy
        place_micro = rules.registration_bond_micro + rules.registration_fee_micro
        if self.network.view.account(o.owners[0].public).balance_micro < place_micro:
            return  # it cannot pay for another place
        self.network.submit(o.owners[0], Unregister(o.nodes[0].public))
        number = o.number.to_bytes(4, "big")
        owner, node = (Key(digest(b"economy", what, number)) for what in (b"new owner", b"new node"))
        proof = node.sign(Domain.NODE, self.network.genesis.network, consent(owner.public))
        self.network.accounts.append(owner.public)
        self.network.submit(o.owners[0], Transfer(owner.public, place_micro))
        self.network.submit(owner, Register(node.public, (MODEL,), (), 0, "", proof))
        o.nodes.append(node)
        o.owners.append(owner)
        self.of[node.public], self.keys[node.public] = o, node
        self.committees.foreign[node.public] = False

    def _wealth(self, o: Operator) -> float:
        """Balances and collateral, micro-credits."""
        return float(self.network.wealth(o.accounts(), [node.public for node in o.nodes]))

