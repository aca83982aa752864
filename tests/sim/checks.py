"""What must hold in every run. Law: judged from outside, from what peers say and commit, never from what they
believe of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2p.base.codec import encode
from p2p.consensus import wire
from p2p.consensus.certificates import verify_commit
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import (
    Block,
    CommitCertificate,
    PolkaCertificate,
    RoundCertificate,
    SignedProposal,
    SignedVote,
)
from p2p.consensus.pacing import CALM
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import conflicts
from p2p.ledger.participants.validator_sets import punished
from tests.sim.peer import Peer
from tests.sim.world import EPOCH_MS

BUFFERS_PER_VALIDATOR = 64  # messages kept by one peer, per validator of its sets


class Violation(AssertionError):
    """A property does not hold. The text names it."""


@dataclass(slots=True)
class Checks:
    """honest: public keys; right: of those with a clock that becomes right. too_many: safety is not promised, so
    disagreement is noted instead of raised."""

    honest: frozenset[bytes]
    too_many: bool = False
    right: frozenset[bytes] = frozenset()
    blocks: dict[int, bytes] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)
    signed: dict[tuple[bytes, int, int, int], bytes] = field(default_factory=dict)
    votes: dict[int, dict[bytes, SignedVote]] = field(default_factory=dict)
    disagreements: set[int] = field(default_factory=set)
    top: dict[int, int] = field(default_factory=dict)
    rounds: dict[int, int] = field(default_factory=dict)
    # by height: how far ahead of time its block was when it was first committed
    leads: dict[int, int] = field(default_factory=dict)
    # by block: (whose, what it showed) of each right clock when the block's first proposal came to it, or was made by
    # it
    readings: dict[bytes, list[tuple[bytes, int]]] = field(default_factory=dict)
    # what each right clock showed when its peer crashed: a proposal may be on disk then that nobody has heard
    crashed: dict[bytes, list[int]] = field(default_factory=dict)
    slowest: int = CALM  # the longest stretch of a right peer so far (rule A)

    def watch(self, peer: Peer) -> None:
        """Attach to an honest peer."""
        peer.on_say, peer.on_committed, peer.on_restart = self._said, self._committed, self.restarted
        peer.on_heard, peer.on_blame, peer.on_crash = self._heard, self._blamed, self._crashed

    def _blamed(self, peer: Peer, source: int, why: str) -> None:
        """Only what is wrong for everybody is held against a sender, and nobody honest says that."""
        sender = next((other for other in peer.others if other.number == source), None)
        if sender is not None and sender.key.public in self.honest:
            raise Violation(f"nobody honest is blamed: peer {peer.number} blames {source}: {why}")

    def _keep_pace(self, peer: Peer) -> None:
        """A proposal may be judged later than it comes, when its height begins: at the pace of that moment."""
        if peer.key.public in self.right:
            self.slowest = max(self.slowest, peer.driver.pace.percent)

    def _crashed(self, peer: Peer) -> None:
        if peer.key.public in self.right:
            self.crashed.setdefault(peer.key.public, []).append(peer.clock_ms())

    def _read(self, peer: Peer, signed: SignedProposal) -> None:
        self._keep_pace(peer)
        if signed.proposal.pol_round < 0 and peer.key.public in self.right:
            self.readings.setdefault(signed.proposal.block_id, []).append((peer.key.public, peer.clock_ms()))

    def _heard(self, peer: Peer, message: wire.Wire) -> None:
        """Whatever reached an honest peer can be used against its sender."""
        if isinstance(message, SignedProposal):
            self._read(peer, message)
        if not self.too_many:
            return
        if isinstance(message, SignedVote):
            self.collect(message)
        elif isinstance(message, PolkaCertificate | RoundCertificate):
            for signed in message.votes:
                self.collect(signed)

    def _said(self, peer: Peer, say: Broadcast) -> None:
        self._keep_pace(peer)
        message = wire.parse(say.data)
        if isinstance(message, SignedVote) and message.vote.validator == peer.key.public:
            v = message.vote
            self._once(peer, v.height, v.round, int(v.type), encode(v))
            self.collect(message)
        elif isinstance(message, SignedProposal) and message.proposal.proposer == peer.key.public:
            p = message.proposal
            self._once(peer, p.height, p.round, 0, encode(p))
            self._read(peer, message)
        if peer.driver.size() > BUFFERS_PER_VALIDATOR * (len(peer.driver.validators.members) + 2):
            raise Violation(f"bounded buffers: peer {peer.number} keeps {peer.driver.size()} messages")

    def _once(self, peer: Peer, height: int, round_: int, step: int, body: bytes) -> None:
        if self.signed.setdefault((peer.key.public, height, round_, step), body) != body:
            raise Violation(f"double sign: peer {peer.number} at height {height} round {round_} step {step}")

    def collect(self, signed: SignedVote) -> None:
        self.votes.setdefault(signed.vote.height, {})[encode(signed)] = signed

    def _committed(self, peer: Peer, block: Block, commit: CommitCertificate) -> None:
        height, block_id = commit.height, block.block_id
        if height != self.top.get(peer.number, 0) + 1:
            raise Violation(
                f"one decision per height: peer {peer.number} commits {height} after {self.top.get(peer.number, 0)}"
            )
        self.top[peer.number] = height
        if not verify_commit(commit, peer.genesis.network, ValidatorSet.of(peer.chain.last_validators())):
            raise Violation(f"certificate soundness: peer {peer.number} height {height}")
        peer.world.note(
            f"{peer.number} commits {height} {block_id.hex()[:8]} round {commit.round} txs {len(block.txs)}"
        )
        self._decided(peer, block, commit)
        if self.blocks.setdefault(height, block_id) != block_id:
            self.disagreements.add(height)
            if not self.too_many:
                raise Violation(f"agreement: peer {peer.number} at height {height}")
        elif self.hashes.setdefault(height, peer.chain.app_hash()) != peer.chain.app_hash() and not self.disagreements:
            raise Violation(f"same app hash: peer {peer.number} at height {height}")

    def _decided(self, peer: Peer, block: Block, commit: CommitCertificate) -> None:
        height = commit.height
        self.rounds[height] = max(self.rounds.get(height, 0), commit.round)
        if height not in self.leads:
            self.leads[height] = block.header.time_ms - EPOCH_MS - peer.world.now
            if self.right and not self.too_many:
                self._is_timed(peer, block)

    def _is_timed(self, peer: Peer, block: Block) -> None:
        """Y, both sides, by each clock's own showing, so in the chaotic phase as after it: its first polka had a
        right clock's vote."""
        header, timing = block.header, peer.timing
        last = peer.chain.blocks.header(header.height - 1)
        # its proposer's clock is behind: only others judge that date
        forced = last is not None and header.time_ms == last.time_ms + 1
        after_ms = timing.delay_in(header.round) * self.slowest // CALM + timing.precision_ms
        read = self.readings.get(block.block_id, [])
        if not read and peer.key.public == header.proposer in self.right:
            # a quorum by itself: it decides in the very step in which it proposes, before anything has left it
            read = [(header.proposer, peer.clock_ms())]
        # what it had proposed before a crash it must propose again, as it was dated then
        read = [*read, *((header.proposer, ms) for ms in self.crashed.get(header.proposer, []))]
        shown = [ms for who, ms in read if not (forced and who == header.proposer)]
        if any(header.time_ms - timing.precision_ms <= ms <= header.time_ms + after_ms for ms in shown):
            return
        if forced and header.proposer in self.right:
            return  # with so much weight that its own vote and villains' were a quorum
        clocks = [ms - EPOCH_MS for ms in shown]
        raise Violation(
            f"time: block {header.height} of round {header.round} is dated {header.time_ms - EPOCH_MS}, "
            f"right clocks showed {clocks}"
        )

    def restarted(self, peer: Peer) -> None:
        """After a crash the chain may stand one block further than was seen: the decision was on disk before anyone
        was told."""
        height = peer.chain.height()
        seen = self.top.get(peer.number, 0)
        if height not in (seen, seen + 1):
            raise Violation(f"no lost decision: peer {peer.number} stands at {height} after {seen}")
        if height == seen + 1:
            block_id = peer.chain.last_block_id()
            if self.blocks.setdefault(height, block_id) != block_id and not self.too_many:
                raise Violation(f"agreement after a crash: peer {peer.number} at height {height}")
            self.top[peer.number] = height
            found = peer.chain.blocks.block(height)
            assert found is not None
            self._decided(peer, *found)

    def end(self, peers: Iterable[Peer]) -> None:
        """When the run is over."""
        for height, votes in self.votes.items():
            mine = [v for v in votes.values() if v.vote.validator in self.honest]
            if conflicts(mine):
                raise Violation(f"lock discipline: an honest peer's votes at height {height} convict it")
        for peer in peers:
            framed = (punished(peer.chain.state.view()) | set(peer.driver.evidence.offenders())) & self.honest
            if framed:
                raise Violation(
                    f"framed: peer {peer.number} holds evidence against honest {next(iter(framed)).hex()[:8]}"
                )
        if self.disagreements:
            self._accountable(peers)

    def _accountable(self, peers: Iterable[Peer]) -> None:
        """Who disagreed can be named: more than a third, none of them honest."""
        members = ValidatorSet.of([(p.node, p.weight) for p in next(iter(peers)).genesis.peers])
        height = min(self.disagreements)
        guilty = {pair[0].vote.validator for pair in conflicts(list(self.votes.get(height, {}).values()))}
        if guilty & self.honest:
            raise Violation("accountability: an honest peer is named")
        if not members.has_honest(sum(map(members.weight, guilty))):
            raise Violation(f"accountability: only {len(guilty)} named for the disagreement at height {height}")
