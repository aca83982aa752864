"""Today's design on paper: each resource as a formula of the number of hosts, and where each limit is reached.

Law: a number comes from figures.py (measured), sizes.py (encoded), the limits of the tree, or a formula shown in its
row. One model, every host serves it; a block a second; 1,000 bytes are a kB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

from p2p.base import limits
from p2p.base.genesis import CheckRules
from p2p.consensus.timing import Timing
from p2p.ledger.inferences.pruning import MAX_LEAVING
from p2p.ledger.participants.places import MAX_PARTICIPANTS
from p2p.verification.duty import FULL, MAX_REPUTATION, check_probability_milli
from tests.tools.scale import figures, samples, sizes
from tests.tools.scale.committee import least_faulty
from tests.tools.scale.validators import DIRECT

SIZES = (100, 1000, 10_000, 100_000)
EPOCH = 200  # blocks, and seconds
DAY = 86_400
PAIRS = 5  # of the state, that a participant of `make scale` has
LINK = 100e6 / 8  # bytes a second of a connection of 100 Mbit/s
DHT_BUCKET = 20  # peers of one bucket, and of one answer
RULES = CheckRules()


def checked_share(requests: int, rules: CheckRules = RULES) -> float:
    """Share of a trusted host's answers that is checked, in an epoch with so many requests: all until enough tokens
    were checked, then by lot."""
    checked = tokens = 0.0
    for _ in range(requests):
        chance = check_probability_milli(MAX_REPUTATION, int(tokens), requests, rules) / FULL
        checked, tokens = checked + chance, tokens + chance * samples.ANSWER
    return checked / requests


@dataclass(frozen=True, slots=True)
class Today:
    """hosts: N. rate: requests a second and host."""

    hosts: float
    rate: float = 1.0

    # -- what a block holds

    @property
    def share(self) -> float:
        """Of answers that are checked."""
        return checked_share(max(1, round(self.rate * EPOCH)))

    @property
    def requests(self) -> float:
        return self.hosts * self.rate

    @property
    def checks(self) -> float:
        return self.requests * self.share

    @property
    def batches(self) -> float:
        """A host sends a batch a block at most, and one for each record where records are few."""
        each = self.rate * (3 + 2 * samples.COMMITTEE * self.share)
        return self.hosts * min(1.0, each)

    @property
    def record_bytes(self) -> float:
        r = sizes.RECORDS
        one = r["Start"] + r["Finish"] + r["Output"]
        check = samples.COMMITTEE * (r["commitment to a verdict"] + r["verdict"])
        return self.requests * one + self.checks * check + self.batches * sizes.BATCH

    @property
    def apply_s(self) -> float:
        """CPU of each peer for a block."""
        record_us = figures.INFERENCE_US / 3
        check_us = 2 * samples.COMMITTEE * record_us + figures.at(figures.OPEN_US, self.hosts)
        check_us += figures.at(figures.CLOSE_US, self.hosts)
        prepared_us = figures.at(figures.PREPARE_MS, self.hosts) * 1000
        return (self.requests * figures.INFERENCE_US + self.checks * check_us + prepared_us) / 1e6

    # -- consensus

    @property
    def validators(self) -> int:
        return int(min(self.hosts, limits.MAX_VALIDATORS))

    @property
    def stop_share(self) -> float:
        """Share of all hosts that can stop the chain, where these are the heaviest."""
        return least_faulty(self.validators) / self.hosts

    @property
    def vote_bytes(self) -> float:
        return figures.at(figures.MESH_BYTES, self.validators) * figures.COPIES

    @property
    def vote_s(self) -> float:
        """CPU of a validator: the core, and two bundles of each validator through gossip."""
        return (figures.at(figures.MESH_CPU_MS, self.validators) + 2 * self.validators * figures.GOSSIP_MS) / 1000

    # -- gossip

    @property
    def gossip_bytes(self) -> float:
        """That a peer sends in a second, and gets."""
        return self.record_bytes * figures.COPIES * (1 + figures.CONTROL)

    @property
    def gossip_s(self) -> float:
        return self.batches * figures.GOSSIP_MS / 1000

    # -- state

    @property
    def participant_bytes(self) -> float:
        return 1000 * (figures.at(figures.STATE_KB, self.hosts) + figures.at(figures.TREE_KB, self.hosts))

    @property
    def record_of_inference(self) -> float:
        """Bytes of one in the state, with its index."""
        return sizes.SETTLED + self.share * (sizes.JUDGED - sizes.SETTLED)

    @property
    def inference_bytes(self) -> float:
        """Of one in the state and its tree."""
        tree_of_pair = 1000 * figures.TREE_KB[1000] / 1000 / PAIRS
        return self.record_of_inference + sizes.PAIRS_EACH * tree_of_pair

    @property
    def kept_bytes(self) -> float:
        """Inferences of the running epoch and of two before it, where as many leave as come."""
        return 3 * EPOCH * self.requests * self.inference_bytes

    @property
    def snapshot_bytes(self) -> float:
        """Participants and those inferences, without the tree."""
        return 1000 * figures.at(figures.SNAPSHOT_KB, self.hosts) + 3 * EPOCH * self.requests * self.record_of_inference

    @property
    def growth_bytes(self) -> float:
        """In a day, beyond what leaves."""
        return max(0.0, self.requests - MAX_LEAVING) * DAY * self.inference_bytes

    @property
    def conduct_s(self) -> float:
        n = self.hosts
        return (figures.CONDUCT_LINE_US * n + figures.CONDUCT_SQUARE_NS / 1000 * n * n) / 1e6

    @property
    def epoch_end_s(self) -> float:
        parts = (figures.SETTLE_MS, figures.SPRINT_MS, figures.SETS_MS, figures.TREE_MS, figures.SNAPSHOT_MS)
        return sum(figures.at(part, self.hosts) for part in parts) / 1000 + self.conduct_s

    @property
    def serving_bytes(self) -> float:
        return self.hosts * sizes.serving_entry() + 3 * figures.at(figures.PROOF, self.hosts)

    # -- finding each other, checking

    @property
    def known(self) -> float:
        return min(1.0, limits.MAX_KNOWN_PEERS / self.hosts)

    @property
    def dials(self) -> float:
        """A second: to the executors that it draws, and to those that it checks, where they are not connected."""
        apart = 1 - min(1.0, (limits.MAX_CONNECTIONS - 1) / (self.hosts - 1))
        return self.rate * (1 + samples.COMMITTEE * self.share) * apart

    @property
    def lookups(self) -> float:
        return log2(max(1.0, self.hosts / DHT_BUCKET))

    @property
    def checks_each(self) -> float:
        """Checks a second that a host makes."""
        return self.rate * self.share * samples.COMMITTEE


Row = tuple[str, str, str, Callable[[Today], float]]  # resource, formula, unit, value
ROWS: tuple[Row, ...] = (
    ("validators", "v = min(N, MAX_VALIDATORS)", "", lambda t: t.validators),
    ("heaviest hosts that stop the chain", "⌈v / 3⌉ / N", "%", lambda t: 100 * t.stop_share),
    ("votes, CPU of a validator", "core(v) + 2 v g", "s", lambda t: t.vote_s),
    ("votes, sent by a validator", "bytes(v) × k", "B", lambda t: t.vote_bytes),
    ("certificate in each block", "(⌊2v / 3⌋ + 1) × 101 B", "B", lambda t: sizes.certificate(t.validators)),
    ("records in a block", "N (S + F + O + 3 p (C + V) + B)", "B", lambda t: t.record_bytes),
    ("CPU to apply a block", "N (i + p c(N)) + d(N)", "s", lambda t: t.apply_s),
    ("gossip, sent and got in a second", "records × k × 1.094", "B", lambda t: t.gossip_bytes),
    ("gossip, CPU in a second", "N g", "s", lambda t: t.gossip_s),
    ("participants in the state", "state(N) + tree(N)", "B", lambda t: t.participant_bytes),
    ("inferences in the state", "3 × 200 N s", "B", lambda t: t.kept_bytes),
    ("and what does not leave, in a day", "(N − 256) × 86,400 s", "B", lambda t: t.growth_bytes),
    ("a newcomer's snapshot, without that", "snapshot(N) + 3 × 200 N s'", "B", lambda t: t.snapshot_bytes),
    ("to fetch it at 100 Mbit/s", "snapshot / 12.5 MB", "s", lambda t: t.snapshot_bytes / LINK),
    ("an epoch's end, CPU", "parts(N) + a N + b N²", "s", lambda t: t.epoch_end_s),
    ("proof of who serves, for a request", "N × 40 B + 3 proofs", "B", lambda t: t.serving_bytes),
    ("executors whose address is known", "min(1, 1,024 / N)", "%", lambda t: 100 * t.known),
    ("dials of a host in a second", "(1 + 3 p) (1 − 127 / (N − 1))", "", lambda t: t.dials),
    ("rounds of a search in the DHT", "log₂(N / 20)", "", lambda t: t.lookups),
    ("checks of a host in a second", "3 p", "", lambda t: t.checks_each),
    ("blocks on disk, a day", "records × 86,400", "B", lambda t: t.record_bytes * DAY),
    ("light client, an epoch", "header + certificate + two sets", "B", lambda t: sizes.light_block(t.validators)),
)


def reached(value: Callable[[Today], float], limit: float, rate: float) -> float:
    """The number of hosts at which a value that grows with it reaches the limit."""
    low, high = 2.0, 1e9
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if value(Today(middle, rate)) >= limit else (middle, high)
    return high


Limit = tuple[str, str, Callable[[float], float]]  # what, the limit, hosts by rate


def _grows(value: Callable[[Today], float], limit: float) -> Callable[[float], float]:
    return lambda rate: reached(value, limit, rate)


def _fixed(hosts: float) -> Callable[[float], float]:
    return lambda rate: hosts


PROPOSE_S = Timing().propose_ms / 1000
_WORK = limits.BUDGETS["work ms"].total
_PROVED = limits.MAX_ITEMS // 3  # a node, its weight, and the pair
LIMITS: tuple[Limit, ...] = (
    ("votes leave the streams for the mesh", f"{DIRECT} validators", _fixed(DIRECT)),
    (
        "inferences come faster than they leave the state", f"MAX_LEAVING {MAX_LEAVING} a block",
        _grows(lambda t: t.requests, MAX_LEAVING),
    ),
    (
        "a block has no place for a batch of each host", f"MAX_TXS_PER_BLOCK {limits.MAX_TXS_PER_BLOCK}",
        _grows(lambda t: t.batches, limits.MAX_TXS_PER_BLOCK),
    ),
    (
        "gossip takes all that strangers may have of the CPU", f"{_WORK} ms a second",
        _grows(lambda t: t.gossip_s * 1000, _WORK),
    ),
    (
        "conduct at an epoch's end, one step without a pause, lasts a propose timeout", f"{PROPOSE_S} s",
        _grows(lambda t: t.conduct_s, PROPOSE_S),
    ),
    ("places of participants", f"MAX_PARTICIPANTS {MAX_PARTICIPANTS:,}", _fixed(MAX_PARTICIPANTS)),
    ("addresses in the book", f"MAX_KNOWN_PEERS {limits.MAX_KNOWN_PEERS:,}", _fixed(limits.MAX_KNOWN_PEERS)),
    (
        "a client's proof of who serves has too many items", f"MAX_ITEMS {limits.MAX_ITEMS:,} / 3", _fixed(_PROVED),
    ),
    ("one core applies blocks and nothing else", "1 s a block", _grows(lambda t: t.apply_s, 1.0)),
    (
        "a block is full of records", f"MAX_BLOCK {limits.MAX_BLOCK // 1000:,} kB",
        _grows(lambda t: t.record_bytes, limits.MAX_BLOCK),
    ),
    (
        "the heaviest 1 % of hosts can stop the chain", "⌈128 / 3⌉ = 43 hosts",
        _grows(lambda t: -t.stop_share, -0.01),
    ),
    ("an epoch's end lasts an epoch", f"{EPOCH} s", _grows(lambda t: t.epoch_end_s, EPOCH)),
)
