"""The changed design on paper: validators by lot, roots instead of records, sharded topics, light hosts.

Law: a number comes from figures.py (measured), sizes.py (encoded by today's types) or a formula shown in its row. What
is new has no code: where a type for it does not exist, the nearest of today's stands in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tests.tools.scale import figures, samples, sizes
from tests.tools.scale.committee import smallest
from tests.tools.scale.today import DAY, LINK, Today

SIZES = (1000, 10_000, 100_000)
EPOCH = 3600  # blocks, and seconds
DRAWS = 365 * DAY // EPOCH  # of a set of validators, a year
FAULTY = Fraction(1, 5)  # share of the weight that may be faulty
ALLOWED = Fraction(1, 10**9)  # chance in a year
SEATS = smallest(SIZES[-1], int(SIZES[-1] * FAULTY), float(ALLOWED / DRAWS))
SAMPLES = 10  # answers of a host that are checked in an epoch, however many it gave
SHARD = 1000  # hosts of one shard: the largest network of gossip peers that was simulated
PER_CHECK = 2 * samples.COMMITTEE + 1  # records: the opened answer, commitments, verdicts
RECORDS_EACH = 1 + SAMPLES * PER_CHECK  # of a host in an epoch: its root, and its checks


@dataclass(frozen=True, slots=True)
class Changed:
    """hosts: N, a request a second each."""

    hosts: int

    @property
    def today(self) -> Today:
        return Today(self.hosts)

    # -- consensus

    @property
    def vote_s(self) -> float:
        return figures.STREAMS_CPU_MS / 1000 * SEATS / figures.STREAMS

    @property
    def vote_bytes(self) -> float:
        return figures.STREAMS_BYTES * SEATS / figures.STREAMS

    # -- records

    @property
    def records(self) -> float:
        """A second."""
        return self.hosts * RECORDS_EACH / EPOCH

    @property
    def record_bytes(self) -> float:
        """A second, each record in a batch of its own."""
        r = sizes.RECORDS
        check = r["one answer under it"] + samples.COMMITTEE * (r["commitment to a verdict"] + r["verdict"])
        each = r["root over answers"] + SAMPLES * check + RECORDS_EACH * sizes.BATCH
        return self.hosts * each / EPOCH

    @property
    def apply_s(self) -> float:
        """CPU a second, where the end of a committee costs what it does among a hundred participants."""
        committees = self.hosts * SAMPLES / EPOCH
        each_us = figures.OPEN_US[100] + figures.CLOSE_US[100]
        return (self.records * figures.INFERENCE_US / 3 + committees * each_us) / 1e6

    @property
    def epoch_end_s(self) -> float:
        """Without the quadratic part."""
        return self.today.epoch_end_s - self.today.conduct_s + figures.CONDUCT_LINE_US * self.hosts / 1e6

    @property
    def state_bytes(self) -> float:
        """Participants, and the checked answers of three epochs."""
        t = self.today
        each = t.inference_bytes - t.share * (sizes.JUDGED - sizes.SETTLED) + sizes.JUDGED - sizes.SETTLED
        return t.participant_bytes + 3 * self.hosts * SAMPLES * each

    # -- gossip

    @property
    def shards(self) -> int:
        return max(1, self.hosts // SHARD)

    @property
    def gossip_bytes(self) -> float:
        """That a validator sends and gets in a second: it hears every shard."""
        return self.record_bytes * figures.COPIES * (1 + figures.CONTROL)

    @property
    def gossip_s(self) -> float:
        return self.records * figures.GOSSIP_MS / 1000

    # -- light hosts

    @property
    def light_bytes(self) -> float:
        """That a light host fetches in an epoch: a header with its certificate and sets, and who serves in its
        shard."""
        return sizes.light_block(SEATS) + min(self.hosts, SHARD) * sizes.serving_entry()


Row = tuple[str, str, str, Callable[[Changed], float]]
ROWS: tuple[Row, ...] = (
    ("validators", f"c = {SEATS}, by lot", "", lambda c: SEATS),
    ("votes, CPU of a validator, a block", "streams(512) × c / 512", "s", lambda c: c.vote_s),
    ("votes, sent by a validator, a block", "bytes(512) × c / 512", "B", lambda c: c.vote_bytes),
    ("certificate in each block", "(⌊2c / 3⌋ + 1) × 101 B", "B", lambda c: sizes.certificate(SEATS)),
    ("a polka, where a round failed", "(⌊2c / 3⌋ + 1) × 184 B", "B", lambda c: sizes.polka(SEATS)),
    ("records in a second", f"{RECORDS_EACH} N / 3,600", "", lambda c: c.records),
    ("bytes of records in a second", "N (R + 10 (A + 3 (C + V)) + 71 B) / 3,600", "B", lambda c: c.record_bytes),
    ("CPU to apply them, in a second", "records × i / 3 + 10 N c(100) / 3,600", "s", lambda c: c.apply_s),
    ("gossip of a validator, in a second", "bytes × k × 1.094", "B", lambda c: c.gossip_bytes),
    ("its CPU, in a second", "records × g", "s", lambda c: c.gossip_s),
    ("gossip of a light host, in a second", "the same / shards", "B", lambda c: c.gossip_bytes / c.shards),
    ("its CPU, in a second", "the same / shards", "s", lambda c: c.gossip_s / c.shards),
    ("state", "participants + 3 × 10 N checked answers", "B", lambda c: c.state_bytes),
    ("to fetch it at 100 Mbit/s", "state / 12.5 MB", "s", lambda c: c.state_bytes / LINK),
    ("an epoch's end, CPU", "parts(N) + a N", "s", lambda c: c.epoch_end_s),
    ("share of the epoch", "the same / 3,600 s", "%", lambda c: 100 * c.epoch_end_s / EPOCH),
    ("light host, an epoch", "header, certificate, sets, its shard", "B", lambda c: c.light_bytes),
    ("checks of a host in an hour", "3 × 10", "", lambda c: samples.COMMITTEE * SAMPLES),
)
