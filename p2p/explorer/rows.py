"""What the explorer's API answers besides the network's own answers. Law: data only; docs/explorer.md has the table."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from p2p.gateway.host_times import Timed
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import ConductRow, EarningsAnswer, PriceRow
from p2p.wire.answers.status import PublicStatus


class BlockRow(Struct, frozen=True):
    """One decided block in a list."""

    height: int
    block_id: str
    time_ms: int
    round: int  # in which it was proposed
    commit_round: int  # in which it was decided
    proposer: str
    txs: int
    records: int
    refused: int
    signatures: int
    validators: int  # that could have signed


class BlockPage(Struct, frozen=True):
    top: int
    blocks: tuple[BlockRow, ...]  # newest first
    next: int | None  # `before` of the next page; None: this is the last one that is kept


class Step(Struct, frozen=True):
    """A record about an inference."""

    kind: str
    height: int
    time_ms: int
    count: int = 1  # of this kind, in this block


class InferenceRow(Struct, frozen=True):
    """One inference in a list."""

    id: str
    number: int  # in the order in which this explorer saw them
    status: str
    model: str
    account: str
    agent: str
    executor: str
    start_height: int
    start_ms: int  # time of that block; 0: not here
    finish_ms: int
    prompt_tokens: int
    output_tokens: int
    charged_micro: int
    valid: int  # verdicts
    invalid: int


class InferencePage(Struct, frozen=True):
    inferences: tuple[InferenceRow, ...]  # newest first
    next: int | None  # `before` of the next page
    kept: int  # in all


class InferenceStory(Struct, frozen=True):
    """All about one inference, without its draw."""

    inference: InferenceAnswer
    steps: tuple[Step, ...]
    times: dict[str, int]  # height -> time of its block, for the heights that the inference names and that are here


class DrawStory(Struct, frozen=True):
    """What is needed to draw again. The hexadecimal fields are canonical CBOR, as in the network's own answers."""

    id: str
    record: str  # ledger Inference
    height: int  # the record is of the state after it; header height + 1 has its app hash
    proof: str  # TreeProof of the record
    left: bool  # it left the state: then `proof` is of its epoch's sums, which this page does not open
    draw_height: int
    serving_height: int
    serving: str  # ServingProof of the draw's height; empty: not known any more
    session_height: int  # 0: not in a session
    session_serving_height: int
    session_serving: str
    why: str  # why a proof is missing; empty where none is


class HostRow(Struct, frozen=True):
    """Public statistics of one participant, over the blocks that are here."""

    node: str
    finished: int  # answers
    stood: int  # of those that ended
    refused: int
    unjudged: int  # expired, withheld, unconfirmed
    output_tokens: int
    chain_tokens_a_second: float | None  # median; from Start to Finish by block times, so it is a lower bound
    timed: Timed | None  # by a gateway on the same port
    signed: int  # blocks whose certificate has its signature
    could_sign: int
    looks: int  # at it, by this program; 0: it was never connected
    answered: int  # of these: its uptime
    verdicts: int  # that it revealed
    verdicts_against: int  # of these, 'invalid'


class HostPage(Struct, frozen=True):
    first_height: int  # of the blocks that are counted
    last_height: int
    hosts: tuple[HostRow, ...]


class ParticipantRow(Struct, frozen=True):
    conduct: ConductRow
    host: HostRow | None


class ParticipantPage(Struct, frozen=True):
    height: int
    epoch: int
    honest: int
    false_alarms: int
    cheats: int
    conviction_milli: int
    total: int
    participants: tuple[ParticipantRow, ...]
    next: int | None


class ParticipantStory(Struct, frozen=True):
    conduct: ConductRow
    host: HostRow | None
    account: Any  # its entry in its owner's account: models, stacks, collateral; None: not registered now
    earnings: EarningsAnswer  # of the running epoch, first page
    inferences: tuple[InferenceRow, ...]  # the newest in which it had a part


class PeerRow(Struct, frozen=True):
    """A peer that this explorer is connected to."""

    peer_id: str
    status: PublicStatus | None  # None: it has not answered
    answered: int  # of the last looks
    looks: int


class StreamRow(Struct, frozen=True):
    """Work between two nodes in the last blocks."""

    source: str
    target: str
    kind: str  # 'answer' (agent -> executor) or 'check' (executor -> validator)
    count: int
    running: int  # of these, not ended


class MapNode(Struct, frozen=True):
    node: str
    weight: int
    peer_id: str  # empty: not connected to this explorer
    height: int
    jobs: int


class MapAnswer(Struct, frozen=True):
    height: int
    nodes: tuple[MapNode, ...]
    more: int  # participants without a place on the map
    streams: tuple[StreamRow, ...]
    peers: tuple[PeerRow, ...]


class PricePoint(Struct, frozen=True):
    height: int
    time_ms: int
    price_micro: int
    utilisation_milli: int


class PriceHistory(Struct, frozen=True):
    model: str
    points: tuple[PricePoint, ...]  # one for each change


class PricesStory(Struct, frozen=True):
    height: int
    now: tuple[PriceRow, ...]
    history: tuple[PriceHistory, ...]


class EpochRow(Struct, frozen=True):
    epoch: int
    first_height: int
    last_height: int
    sums: Any  # EpochSumsRow


class EpochPage(Struct, frozen=True):
    height: int
    epoch: int
    epochs: tuple[EpochRow, ...]  # newest first
    sprint: Any  # SprintAnswer
    next: int | None


class ConsensusPage(Struct, frozen=True):
    peers: tuple[PeerRow, ...]
    blocks: tuple[BlockRow, ...]
    rounds: dict[str, int]  # round of the decision -> blocks
    signed: tuple[HostRow, ...]


class Overview(Struct, frozen=True):
    network: str
    height: int
    time_ms: int
    epoch: int
    block_ms: int | None  # median between two blocks
    records_a_block: float
    participants: int
    weight: int
    peers: int
    inferences: int  # that are kept
    running: int  # of these, not ended
    tokens: int  # of answers of these
    prices: tuple[PriceRow, ...]
    chat: bool  # whether this port answers questions too
    behind: int  # blocks between what the explorer has read and the top


class Found(Struct, frozen=True):
    """A result of the search."""

    kind: str  # block, inference, participant, account, peer
    id: str
    why: str


class SearchAnswer(Struct, frozen=True):
    query: str
    found: tuple[Found, ...]


class HeaderAnswer(Struct, frozen=True):
    height: int
    light: str  # LightBlock, canonical CBOR
