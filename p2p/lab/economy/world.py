"""One simulated network over epochs. Law: a seed decides everything; all money moves through the ledger, all agents only send records.

Each height: committees reveal and commit, executors finish what was started a height ago, clients ask, the block ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, digest
from p2p.base.limits import MAX_CANDIDATES
from p2p.base.types import ENDED, STANDS, SignedRequest, Status
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.detection import HONEST
from p2p.lab.economy.network import MODEL, NAME, OTHERWISE, STREAMED, Network
from p2p.lab.economy.operators import Operator, make
from p2p.lab.economy.panel import Bench
from p2p.lab.economy.strategies import BY_NAME, Dealing, Moment
from p2p.ledger.rules.ops import Deposit, Register, Transfer, Unregister, consent

RICH, EPOCH = 10**13, 100
OUTSIDER = Key(digest(b"economy", b"outsider"))  # a self-dealer's agent: a peer that is no participant
PLANTED = "smaller_model"  # what a planted fault looks like: any kernels see it
MAX_TRIES = 400  # requests a self-dealer signs to find one that draws its node
ASKED_AGAIN = 3  # times that a client asks an agent which refuses; then it takes what there is (another agent, as it were)


@dataclass(frozen=True, slots=True)
class Setting:
    """mix: strategy's name -> operators. weight: of one operator's machine; a unit serves `tokens_per_weight` tokens a height. clients: accounts
    that ask. deposit_micro: collateral of each operator. validation_window: heights to commit; short, since agents here answer at once."""

    mix: Mapping[str, int]
    epochs: int
    weight: int = 4
    clients: int = 1000
    deposit_micro: int = 0
    validation_window: int = 3
    checks: CheckRules = field(default_factory=CheckRules)
    economy: EconomyRules = field(default_factory=EconomyRules)
    assume: Assumptions = field(default_factory=Assumptions)
    answers_per_node: float | None = None

    def scaled(self) -> EconomyRules:
        """answers_per_node: of an operator in an epoch at the first price. A machine's speed is no rule of the ledger's: where fewer answers are
        played than its weight could serve, a unit of weight stands for fewer tokens, so that the price rests all the same."""
        if self.answers_per_node is None:
            return self.economy
        tokens = self.answers_per_node * self.assume.mean_tokens / self.assume.use / (self.weight * 100)
        return replace(self.economy, tokens_per_weight=max(1, round(tokens)))


class World:
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
            node: bool(self.rng.random() < self.assume.foreign) or self.of[node].strategy.foreign for node in sorted(self.of)
        }
        self.bench = Bench(self.network, self.of, foreign, self.assume, setting.checks, self.rng)
        self.agents = [o.nodes[0].public for o in self.operators]  # everybody is honest as an agent
        self.otherwise: set[bytes] = set()  # inferences of which the agent will say other than the executor
        self.planted: list[tuple[bytes, bytes]] = []  # inference, executor; not shown yet
        self.started: list[tuple[bytes, bytes, str, int]] = []  # inference, executor, kind, tokens
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
            MODEL, bytes(32), bytes(32), "bfloat16", self.assume.price_micro, 1, 1 << 16, kernel_distance_milli=self.assume.kernel_distance_milli,
        )
        self._nodes_weight = sum(peer.weight for peer in peers)
        return Genesis(
            1, NAME, 0, tuple(peers), tuple(GenesisAccount(account, RICH) for account in accounts),
            (spec,),
            validation_window=setting.validation_window, epoch_blocks=EPOCH, checks=setting.checks, economy=economy,
        )

    def _deposit(self) -> None:
        for o in self.operators if self.setting.deposit_micro else ():
            for node, owner in zip(o.nodes, o.owners, strict=True):
                self.network.submit(owner, Deposit(node.public, self.setting.deposit_micro // len(o.nodes)))

    # -- time -------------------------------------------------------------------------------------------------------

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
        self.bench.reveal()
        self.bench.commit()
        started, self.started = self.started, []
        for inference_id, executor, kind, tokens in started:
            said = OTHERWISE if inference_id in self.otherwise else STREAMED
            network.finish(inference_id, self.keys[executor], tokens, self.bench.stack(executor), said)
            self.bench.watch(inference_id, executor, kind, tokens)
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
        self._more(serving)
        network.block()
        self.bench.after_block()
        self._show_plants()

    def _more(self, serving: WeightedDraw) -> None:
        """What attackers do besides (attacks.py)."""

    def _refuses(self, signed: SignedRequest, agent: bytes) -> bool:
        """Whether the agent says it has no room, for a better draw. The client asks again, with another request."""
        del signed, agent
        return False

    def _expect(self, serving: WeightedDraw, tokens: int) -> None:
        """What each one's weight would have of these tokens in the mean; together with what it has, its luck. That an agent is not drawn itself
        is part of the luck."""
        total = sum(weight for _, weight in serving.pairs())
        for node, weight in serving.pairs():
            self.of[node].drawn -= tokens * weight / total

    def _length(self) -> int:
        return int(self.assume.answers[int(self.rng.integers(len(self.assume.answers)))])

    def _demand(self) -> float:
        """Answers asked for in a height."""
        capacity = self._nodes_weight * self.network.genesis.economy.tokens_per_weight
        first = capacity * self.assume.use / self.assume.mean_tokens
        return float(first * (self.assume.price_micro / self.network.price_micro()) ** self.assume.elasticity)

    def _start(self, signed: SignedRequest, agent: bytes, wanted: Operator | None = None) -> None:
        candidates = self.network.start(signed, agent)
        executor = next((c for c in candidates if wanted is None or self.of[c] is wanted), None)
        if executor is None:
            return  # nobody serves: the request expires and its escrow returns
        operator, tokens = self.of[executor], signed.request.max_tokens
        operator.drawn += tokens if wanted is None else 0
        known = self.network.participant(executor)
        unknown = wanted is not None and operator.strategy.dealing is Dealing.UNKNOWN
        checked = self.network.check_milli(executor, self.bench.stack(executor))
        kind = operator.strategy.answer(Moment(checked, known.reputation if known else 0, unknown, self.rng))
        operator.count("answers")
        operator.count("cheated", kind != HONEST)
        self.started.append((signed.inference_id, executor, kind, tokens))

    def _deal(self, serving: WeightedDraw) -> None:
        """Self-dealers ask: the draw is public before a request is signed, so they sign until one draws their node."""
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
        """Honest operators ask their own node now and then and answer wrongly, on purpose."""
        for o in self.operators:
            if o.strategy.name != HONEST or self.rng.random() >= self.assume.plants / EPOCH or not self._may_plant(o.nodes[0].public):
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
                o.spent_micro += self.assume.answer_micro(HONEST, started[3]) - self.assume.answer_micro(PLANTED, started[3])
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

    # -- an epoch's end ---------------------------------------------------------------------------------------------------

    def _close(self) -> None:
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
        """Out with the old key, in with a new one of another account, which the old one pays a place for. The ledger gives a newcomer no weight."""
        rules = self.network.genesis.economy
        place_micro = rules.registration_bond_micro + rules.registration_fee_micro
        if self.network.view.account(o.owners[0].public).balance_micro < place_micro:
            return  # what it lost leaves it no money for another place
        self.network.submit(o.owners[0], Unregister(o.nodes[0].public))
        owner, node = (Key(digest(b"economy", what, o.number.to_bytes(4, "big"))) for what in (b"new owner", b"new node"))
        proof = node.sign(Domain.NODE, self.network.genesis.network, consent(owner.public))
        self.network.accounts.append(owner.public)
        self.network.submit(o.owners[0], Transfer(owner.public, place_micro))
        self.network.submit(owner, Register(node.public, (MODEL,), (), 0, "", proof))
        o.nodes.append(node)
        o.owners.append(owner)
        self.of[node.public], self.keys[node.public] = o, node
        self.bench.foreign[node.public] = False

    def _wealth(self, o: Operator) -> float:
        return float(self.network.wealth(o.accounts(), [node.public for node in o.nodes]))

