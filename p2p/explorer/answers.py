"""What each path of the API answers. Law: read only; what a visitor makes peers do is metered and cached.

From `history` comes what the follower has read; from peers, in one or a few questions, everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.keys import public_key_of
from p2p.base.serving_limits import EXPLORER_PAGE
from p2p.explorer import rows
from p2p.explorer.asked import Asked, hex32, number
from p2p.explorer.follower import Follower
from p2p.explorer.history import Seen
from p2p.explorer.hosts import hosts, streams
from p2p.explorer.source import Source
from p2p.gateway.host_times import Timed
from p2p.wire.answers.accounts import AccountAnswer
from p2p.wire.answers.blocks import BlockAnswer, Light
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import (
    ConductRow,
    EarningsAnswer,
    PricesAnswer,
    SprintAnswer,
    VerificationAnswer,
)

FRESH_S = 1.0
MAP_NODES = 64
EPOCHS = 8  # of one page: a question to a peer for each
NOBODY = "00" * 32
Timing = Callable[[], Mapping[str, Timed]]


def no_timing() -> Mapping[str, Timed]:
    """Of an explorer without a gateway beside it."""
    return {}


class Answers:
    """One method a path."""

    def __init__(self, source: Source, follower: Follower, timing: Timing, *, chat: bool) -> None:
        self._source, self._follower, self._history = source, follower, follower.history
        self._timing, self._chat = timing, chat
        self._known: tuple[float, VerificationAnswer] | None = None
        self._counted: tuple[float, rows.HostPage] | None = None

    # -- blocks ---------------------------------------------------------------------------------------------------

    async def overview(self, asked: Asked) -> rows.Overview:
        conduct, prices = await self._conduct(), await self._source.ask(PricesAnswer, {"op": "prices"})
        last = self._history.blocks(None, 50).blocks
        found = [seen.answer for _, seen in self._history.all_seen() if seen.answer is not None]
        return rows.Overview(
            self._source.network, self._history.top, last[0].time_ms if last else 0, conduct.epoch,
            self._history.block_ms(), round(sum(b.records for b in last) / max(len(last), 1), 1),
            len(conduct.participants), sum(row.weight for row in conduct.participants), len(self._source.peers()),
            len(found), sum(seen.is_open for _, seen in self._history.all_seen()),
            sum(one.output_tokens for one in found), prices.prices, self._chat,
            max(self._follower.height - self._history.top, 0),
        )

    async def blocks(self, asked: Asked) -> rows.BlockPage:
        return self._history.blocks(asked.before, asked.limit)

    async def block(self, asked: Asked) -> BlockAnswer:
        return await self._source.ask(BlockAnswer, {"op": "block", "height": _height(asked)})

    async def header(self, asked: Asked) -> rows.HeaderAnswer:
        found = await self._source.ask(Light, {"op": "light", "height": _height(asked)})
        return rows.HeaderAnswer(found.height, found.light)

    async def consensus(self, asked: Asked) -> rows.ConsensusPage:
        voters = set(self._history.voters())
        signed = tuple(row for row in self._hosts().hosts if row.node in voters)
        return rows.ConsensusPage(
            self._follower.peers(), self._history.blocks(asked.before, asked.limit).blocks, self._history.rounds(),
            signed,
        )

    # -- inferences -----------------------------------------------------------------------------------------------

    async def inferences(self, asked: Asked) -> rows.InferencePage:
        return self._history.inferences(
            asked.before, asked.limit, asked.status, asked.id("node"), asked.id("account"),
        )

    async def inference(self, asked: Asked) -> rows.InferenceStory:
        wanted = hex32(asked.values["id"], "id")
        found = await self._source.ask(InferenceAnswer, {"op": "inference", "id": wanted})
        self._history.add_inference(found)
        seen = self._history.seen(wanted) or Seen(0)
        named = {
            found.draw_height, found.start_height, found.finish_height, found.output_height, found.end_height,
            found.dispute_height, *(row.height for row in found.committees), *(row.height for row in found.verdicts),
        }
        times = {str(height): time for height in sorted(named) if (time := self._history.time_of(height))}
        return rows.InferenceStory(found, tuple(seen.steps), times)

    async def draw(self, asked: Asked) -> rows.DrawStory:
        return await self._follower.draws.fetch(self._source, hex32(asked.values["id"], "id"))

    # -- participants ---------------------------------------------------------------------------------------------

    async def participants(self, asked: Asked) -> rows.ParticipantPage:
        found = await self._conduct()
        start = asked.number("start", 0) or 0
        ordered = sorted(found.participants, key=lambda row: (-row.weight, row.node))
        page = ordered[start : start + asked.limit]
        known = {row.node: row for row in self._hosts().hosts}
        end = start + len(page)
        return rows.ParticipantPage(
            found.height, found.epoch, found.honest, found.false_alarms, found.cheats, found.conviction_milli,
            len(ordered), tuple(rows.ParticipantRow(row, known.get(row.node)) for row in page),
            end if end < len(ordered) else None,
        )

    async def participant(self, asked: Asked) -> rows.ParticipantStory:
        node = hex32(asked.values["id"], "id")
        found = await self._conduct()
        conduct = next((row for row in found.participants if row.node == node), None)
        if conduct is None:
            raise InvalidRequest("no participant has this node key now", field="id", code="not_found")
        earnings = await self._earnings(found.epoch, node)
        owner = await self._source.ask(AccountAnswer, {"op": "account", "account": conduct.owner})
        known = next((row for row in self._hosts().hosts if row.node == node), None)
        mine = next((row for row in owner.nodes if row.node == node), None)
        return rows.ParticipantStory(
            conduct, known, mine, earnings, self._history.inferences(None, 25, node=node).inferences,
        )

    async def account(self, asked: Asked) -> AccountAnswer:
        return await self._source.ask(
            AccountAnswer, {"op": "account", "account": hex32(asked.values["id"], "id")}
        )

    async def hosts(self, asked: Asked) -> rows.HostPage:
        return self._hosts()

    async def map(self, asked: Asked) -> rows.MapAnswer:
        peers, conduct = self._follower.peers(), await self._conduct()
        of_node = {row.status.node: row for row in peers if row.status is not None}
        ordered = sorted(conduct.participants, key=lambda row: (-row.weight, row.node))
        nodes = tuple(_map_node(row, of_node.get(row.node)) for row in ordered[:MAP_NODES])
        shown = {row.node for row in nodes}
        return rows.MapAnswer(
            self._history.top, nodes, max(len(ordered) - MAP_NODES, 0),
            tuple(way for way in streams(self._history) if way.source in shown and way.target in shown), peers,
        )

    # -- money and epochs -----------------------------------------------------------------------------------------

    async def prices(self, asked: Asked) -> rows.PricesStory:
        now = await self._source.ask(PricesAnswer, {"op": "prices"})
        return rows.PricesStory(now.height, now.prices, self._history.prices())

    async def epochs(self, asked: Asked) -> rows.EpochPage:
        sprint = await self._source.ask(SprintAnswer, {"op": "sprint"})
        first = min(asked.number("before", sprint.epoch + 1) or 0, sprint.epoch + 1)
        found = []
        for epoch in range(first - 1, max(first - 1 - EPOCHS, -1), -1):
            one = await self._earnings(epoch, NOBODY)
            found.append(rows.EpochRow(epoch, one.first_height, one.last_height, one.sums))
        last = found[-1].epoch if found else 0
        return rows.EpochPage(sprint.height, sprint.epoch, tuple(found), sprint, last or None)

    # -- search ---------------------------------------------------------------------------------------------------

    async def search(self, asked: Asked) -> rows.SearchAnswer:
        """By height, or by the id of anything; the beginning of an id is enough for what is known here."""
        text = asked.text("q")
        low = text.lower()
        found: list[rows.Found] = []
        if low.isascii() and low.isdigit() and len(low) <= 10 and 1 <= int(low) <= max(self._follower.height, 1):
            found.append(rows.Found("block", str(int(low)), "a block of this height"))
        if len(low) >= 4:
            conduct = await self._conduct()
            found += self._by_peer(text)
            found += _by_prefix(low, conduct)
            found += [rows.Found("inference", one, "an inference") for one, _ in self._history.all_seen()
                      if one.startswith(low)]
            found += [rows.Found("block", str(row.height), "a block with this id")
                      for row in self._history.blocks(None, len(self._all_blocks())).blocks
                      if row.block_id.startswith(low)]
        if not found and len(low) == 64:
            found += await self._by_asking(low)
        return rows.SearchAnswer(text, tuple(found[:EXPLORER_PAGE]))

    def _all_blocks(self) -> range:
        return range(self._history.first, self._history.top + 1)

    def _by_peer(self, text: str) -> list[rows.Found]:
        found = [rows.Found("peer", row.peer_id, "a peer that is connected here") for row in self._follower.peers()
                 if row.peer_id.startswith(text)]
        try:
            node = public_key_of(text)
        except (FolkmootError, ValueError):
            return found
        return [*found, rows.Found("participant", node.hex(), "the node with this peer id")]

    async def _by_asking(self, wanted: str) -> list[rows.Found]:
        """What peers know of an id that nobody here has seen."""
        try:
            await self._source.ask(InferenceAnswer, {"op": "inference", "id": wanted})
            return [rows.Found("inference", wanted, "an inference")]
        except InvalidRequest:
            pass
        account = await self._source.ask(AccountAnswer, {"op": "account", "account": wanted})
        if account.balance_micro or account.nodes or account.next_nonce > 1:
            return [rows.Found("account", wanted, "an account")]
        return []

    # -- shared ---------------------------------------------------------------------------------------------------

    async def _conduct(self) -> VerificationAnswer:
        """At most FRESH_S old: its size grows with the network."""
        if self._known is None or trio.current_time() > self._known[0] + FRESH_S:
            self._known = (trio.current_time(), await self._source.ask(VerificationAnswer, {"op": "verification"}))
        return self._known[1]

    def _hosts(self) -> rows.HostPage:
        """At most FRESH_S old: all inferences are counted for it."""
        if self._counted is None or trio.current_time() > self._counted[0] + FRESH_S:
            self._counted = (trio.current_time(), hosts(self._history, self._timing(), self._follower.looks()))
        return self._counted[1]

    async def _earnings(self, epoch: int, node: str) -> EarningsAnswer:
        asked = {"op": "earnings", "epoch": epoch, "node": node, "start": 0}
        return await self._source.ask(EarningsAnswer, asked)


def _height(asked: Asked) -> int:
    height = number(asked.values["height"], "height")
    if not height:
        raise InvalidRequest("the first block has height 1", field="height")
    return height


def _map_node(row: ConductRow, peer: rows.PeerRow | None) -> rows.MapNode:
    status = peer.status if peer is not None else None
    if peer is None or status is None:
        return rows.MapNode(row.node, row.weight, "", 0, 0)
    return rows.MapNode(row.node, row.weight, peer.peer_id, status.height, status.jobs)


def _by_prefix(low: str, conduct: VerificationAnswer) -> list[rows.Found]:
    found = [rows.Found("participant", row.node, "a participant's node key") for row in conduct.participants
             if row.node.startswith(low)]
    owners = dict.fromkeys(row.owner for row in conduct.participants if row.owner.startswith(low))
    return found + [rows.Found("account", owner, "a participant's owner") for owner in owners]


