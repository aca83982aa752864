"""Attacks that cost no computing, each played in a world of honest operators, some of them its victims. Law: real
records through the real ledger; where conduct off the chain decides (who can get a payload, which prefix an executor
takes over), the least favourable case that the rules allow is played, and named below.

PREFIX       An agent hands over a whole answer as if others had made it. An executor takes over only what others signed
             (decision 035), so it stops there and the request expires.
WITHHOLD     An executor gives its payload to all members of a committee but the victims, and nobody hands it on.
UNAVAILABLE  The agent keeps no payload, and the victim is flooded while committees fetch, so nobody can get it.
AGENTS       Agents without weight, one more of each attacker an epoch, contradict the executor's records. An executor
             that has seen it stops serving them.
UNFINISHED   An agent with weight starts inferences and never hands them on.
HEIGHTS      The client signs the height of the draw (decision 036), so an agent that wants a friend drawn first refuses
             until it is. Clients ask it up to ASKED_AGAIN times.
PUMP         Answers that are never made, and on which agent and executor contradict each other, as many as use all
             capacity.
SQUAT        All places of participants are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.errors import InvalidRequest, Overloaded
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES, MAX_UNSTARTED
from p2p.base.types import SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.lab.economy.committees import AnswerToCheck
from p2p.lab.economy.detection import HONEST
from p2p.lab.economy.network import MODEL, OTHERWISE
from p2p.lab.economy.operators import Operator
from p2p.lab.economy.strategies import VICTIM, Attack
from p2p.lab.economy.world import EPOCH, MAX_TRIES, OUTSIDER, Setting, World
from p2p.ledger.participants.places import MAX_NEW, MAX_PARTICIPANTS
from p2p.ledger.rules.ops import Register, Transfer, consent
from p2p.ledger.state import keys
from p2p.peer.agent_credit import FORGOTTEN_AFTER

AIMED = 0.5  # what the attackers send the victims, as a share of the victims' other traffic
SHORT = 20  # heights until the deadline of a request that is never handed on
NEWCOMERS = 8  # honest ones that want a place in an epoch
NEWCOMERS_FROM = 50  # height within the epoch at which the first of them comes
GRANT_MICRO = 50_000  # a newcomer's balance


@dataclass(slots=True)
class Squat:
    """Who came and went while places were squatted."""

    came: dict[bytes, int] = field(default_factory=dict)  # node of a newcomer that got a place -> epoch
    keys: int = 0  # node keys made so far


class Attacked(World):
    """A world with attackers and victims."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.places: dict[int, list[Key]] = {}  # operator's number -> nodes without weight that it registered
        self.broken: dict[tuple[bytes, bytes], list[int]] = {}  # (executor, agent) -> heights of unpaid answers
        self.hidden: set[bytes] = set()  # inferences whose payload nobody but the executor ever had
        self.more: dict[int, list[bytes]] = {}  # operator's number -> accounts that hold its places
        self.squat = Squat()
        super().__init__(setting, seed)
        self.hostile = [o for o in self.operators if o.strategy.attack is not Attack.NONE]
        self.victims = [o for o in self.operators if o.strategy.name == VICTIM]
        self.committees.missing = self._missing

    # -- what attackers do at a height ---------------------------------------------------------------------------------

    def _attack(self, serving: WeightedDraw) -> None:
        for o in self.hostile:
            match o.strategy.attack:
                case Attack.PREFIX | Attack.UNFINISHED | Attack.UNAVAILABLE:
                    self._aim(o, o.nodes[0].public, serving)
                case Attack.AGENTS:
                    if self.network.height % EPOCH == 2:
                        self._take_place(o)
                    for agent in self.places.get(o.number, ()):
                        self._aim(o, agent.public, serving, 1 / len(self.places[o.number]))
                case Attack.PUMP:
                    self._pump(o, serving)
                case Attack.SQUAT:
                    self._fill(o)
                case _:
                    pass

    def _aim(self, o: Operator, agent: bytes, serving: WeightedDraw, share: float = 1.0) -> None:
        """Start requests whose first drawn executor is a victim: the draw is public, so the attacker signs until one
        is. None where no victim serves. share: of the attacker's requests, what this agent sends."""
        targets = {node.public for victim in self.victims for node in victim.nodes}
        if not targets & {node for node, _ in serving.pairs()}:
            return
        rate = AIMED * share * self._demand() * len(self.victims) / len(self.operators) / len(self.hostile)
        for _ in range(int(self.rng.poisson(rate))):
            attack, length = o.strategy.attack, self._length()
            for _ in range(MAX_TRIES):
                deadline = SHORT if attack is not Attack.UNAVAILABLE else None
                account = o.dealer if attack is not Attack.AGENTS else o.owners[0]
                signed = self.network.request(account, self.assume.prompt_tokens, length, deadline)
                if (first := self._first(signed, serving, agent, self.network.beacon)) in targets:
                    self._one(o, signed, agent, first, length)
                    break

    def _first(self, signed: SignedRequest, serving: WeightedDraw, agent: bytes, beacon: bytes) -> bytes:
        """The executor that is drawn first; b"" where nobody serves."""
        return next(iter(draw_executors(beacon, signed.inference_id, serving, agent, MAX_CANDIDATES)), b"")

    def _one(self, o: Operator, signed: SignedRequest, agent: bytes, victim: bytes, tokens: int) -> None:
        if o.strategy.attack in (Attack.AGENTS, Attack.UNAVAILABLE) and not self._serves(victim, agent):
            return
        self.network.start(signed, agent)
        o.count("aimed")
        if o.strategy.attack in (Attack.AGENTS, Attack.UNAVAILABLE):
            self.of[victim].count("answers")
            self.started.append((signed.inference_id, victim, HONEST, tokens))
        if o.strategy.attack is Attack.UNAVAILABLE:
            self.hidden.add(signed.inference_id)
        if o.strategy.attack is Attack.AGENTS:
            self.otherwise.add(signed.inference_id)

    def _serves(self, executor: bytes, agent: bytes) -> bool:
        """Whether the executor works for the agent: it remembers the agent's answers that were not paid
        (peer/agent_credit.py)."""
        known = self.network.participant(agent)
        most = MAX_UNSTARTED if known is not None and known.weight else 0
        oldest = self.network.height - FORGOTTEN_AFTER
        at = [height for height in self.broken.get((executor, agent), []) if height >= oldest]
        if len(at) <= most:
            self.broken[executor, agent] = [*at, self.network.height]
        return len(at) <= most

    def _missing(self, answer: AnswerToCheck, node: bytes) -> bool:
        """Whether validator `node` cannot get the payload."""
        if answer.executor.strategy.attack is Attack.WITHHOLD:
            return self.of[node].strategy.name == VICTIM
        return answer.inference_id in self.hidden

    def _refuses(self, signed: SignedRequest, agent: bytes) -> bool:
        """An attacker of HEIGHTS accepts a request only where it draws a friend first, or where the client has asked
        ASKED_AGAIN times."""
        o = self.of.get(agent)
        if o is None or o.strategy.attack is not Attack.HEIGHTS:
            return False
        friends = {node.public for node in o.nodes} - {agent}
        friend = self._first(signed, self.network.serving(), agent, self.network.beacon) in friends
        o.count("steered", int(friend))
        return not friend

    def _pump(self, o: Operator, serving: WeightedDraw) -> None:
        """Ask for all of the capacity, in answers of the greatest length; the money is back in the next block."""
        tokens = max(self.assume.answers)
        rate = self._nodes_weight * self.network.genesis.economy.tokens_per_weight / tokens / len(self.hostile)
        for _ in range(int(self.rng.poisson(rate))):
            signed = self._drawing(o, o.dealer, serving, tokens)
            if signed is None:
                return
            drawn = self.network.start(signed, OUTSIDER.public)
            mine = next((node for node in o.nodes if node.public in drawn), None)
            if mine is not None:
                o.count("aimed")
                self.network.finish(signed.inference_id, mine, tokens, self.committees.stack(mine.public), OTHERWISE)

    # -- places of participants ----------------------------------------------------------------------------------------

    def _register(self, account: Key) -> Key:
        self.squat.keys += 1
        node = Key(digest(b"economy", b"place", self.seed.to_bytes(8, "big"), self.squat.keys.to_bytes(4, "big")))
        proof = node.sign(Domain.NODE, self.network.genesis.network, consent(account.public))
        self.network.submit(account, Register(node.public, (MODEL,), (), 0, "", proof))
        return node

    def _fill(self, o: Operator) -> None:
        """Take as many places as fit into a block, each from a separate account, until all are taken; then one for
        each that was lost. Meanwhile honest newcomers come, with little money."""
        network = self.network
        free = max(MAX_PARTICIPANTS - len(network.view.ids(keys.PARTICIPANTS)), 0)
        held = self.places.setdefault(o.number, [])
        lost = [node for node in held if network.participant(node.public) is None]
        self.places[o.number] = [node for node in held if node not in lost]
        for _ in range(min(free or len(lost), (MAX_NEW - NEWCOMERS) // len(self.hostile))):
            self._take_place(o)
        coming = NEWCOMERS_FROM <= network.height % EPOCH < NEWCOMERS_FROM + NEWCOMERS
        if coming and not free and o is self.hostile[0]:
            self._newcomer()

    def _take_place(self, o: Operator) -> None:
        """From a new account with just enough money."""
        account = Key(digest(b"economy", b"another", self.seed.to_bytes(8, "big"), self.squat.keys.to_bytes(4, "big")))
        rules = self.network.genesis.economy
        place_micro = rules.registration_bond_micro + rules.registration_fee_micro
        self.network.submit(o.dealer, Transfer(account.public, place_micro))
        self.network.accounts.append(account.public)
        self.places.setdefault(o.number, []).append(self._register(account))
        self.more.setdefault(o.number, []).append(account.public)
        o.count("places taken")

    def _newcomer(self) -> None:
        account = Key(digest(b"economy", b"newcomer", self.network.height.to_bytes(8, "big")))
        self.network.submit(self.clients[0], Transfer(account.public, GRANT_MICRO))
        self.network.accounts.append(account.public)
        self.victims[0].count("newcomers")
        try:
            node = self._register(account)
        except (InvalidRequest, Overloaded):
            return
        self.victims[0].count("came in")
        self.squat.came[node.public] = self.network.epoch

    def _close(self) -> None:
        super()._close()
        for node, epoch in list(self.squat.came.items()):
            if self.network.epoch > epoch + 1:
                self.victims[0].count("stayed an epoch", self.network.participant(node) is not None)
                del self.squat.came[node]
        for victim in self.victims:
            found = [p for node in victim.nodes if (p := self.network.participant(node.public)) is not None]
            victim.count("suspended epochs", any(p.suspended_until for p in found))
            victim.count("price of all epochs", self.network.price_micro())
            victim.count("strikes", sum(p.strikes for p in found) - victim.counts.get("strikes", 0))

    def _wealth(self, o: Operator) -> float:
        """With the bonds of its places, held or returned."""
        nodes = [node.public for node in self.places.get(o.number, ())]
        return super()._wealth(o) + self.network.wealth(self.more.get(o.number, []), nodes)
