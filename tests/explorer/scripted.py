"""A scripted network for the explorer: blocks, inferences with every ending, and real state proofs of their draws.

Not a peer: it says what the test tells it to say. Proofs and headers are made with the network's own code, so that a
page that checks them cannot tell.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import trio
from msgspec import Struct, to_builtins

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.executor_draw import draw_id
from p2p.base.keys import NetworkId, peer_id
from p2p.base.types import VERSION, Params, Request, SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.proofs.serving import prove_serving
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import CommitCertificate, Header
from p2p.consensus.status import ConsensusStatus
from p2p.explorer.app import Beside, Explorer, nothing_else
from p2p.explorer.serving import open_explorer
from p2p.gateway.host_times import Timed
from p2p.gateway.http.asgi import App
from p2p.gateway.http.server import HttpServer
from p2p.ledger.money.price import Price, price_key
from p2p.ledger.participants.serving import ServingSet, Versions, set_key, versions_key
from p2p.ledger.state import keys
from p2p.ledger.state.proofs import TreeProof, prove
from p2p.ledger.state.records import Inference
from p2p.ledger.state.tree import app_hash, update
from p2p.wire.answers import accounts, blocks, inferences, network, status
from p2p.wire.answers.reading import read

T = TypeVar("T", bound=Struct)
NETWORK = NetworkId("village@" + "5e" * 16)
MODEL = "Tiny-1B-Instruct"
STEP_MS = 1000
START_MS = time.time_ns() // 1_000_000 - 62 * STEP_MS  # so that the 60 blocks of most tests end about now
NODES = tuple(sha256(b"node %d" % at).digest() for at in range(8))
OWNERS = tuple(sha256(b"owner %d" % at).digest() for at in range(8))
WEIGHTS = (40, 25, 18, 12, 9, 6, 3, 0)
PAYER = sha256(b"payer").digest()
HOSTILE = "<img src=x onerror=alert(1)>\u202e\"'&"  # what a stranger may write where text is free
ENDS = ("VALIDATED", "SETTLED", "VALIDATED", "VALIDATING", "INVALIDATED", "STARTED", "SETTLED", "WITHHELD", "DISPUTED",
        "UPHELD", "EXPIRED", "REVEALING")


class Tree:
    """A state tree in memory."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.values: dict[bytes, bytes] = {}
        self.root = b""

    def put(self, changes: dict[bytes, bytes]) -> None:
        self.values |= changes
        self.root, pages = update(self.pages.get, changes)
        self.pages |= {at: page for at, page in pages.items() if page is not None}

    def proved(self, key: bytes) -> tuple[bytes | None, TreeProof]:
        return self.values.get(key), prove(self.pages.get, key)


@dataclass
class Scripted:
    """The network. tops: how many blocks there are; inferences: how many were asked."""

    tops: int = 60
    asked: int = 24
    is_down: bool = False
    asks: list[str] = field(default_factory=list)  # operations
    held: trio.Event | None = None  # nothing is answered before it is set
    network: str = str(NETWORK)
    tree: Tree = field(default_factory=Tree)
    records: dict[str, Inference] = field(default_factory=dict)
    stories: dict[str, inferences.InferenceAnswer] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)  # height -> app hash after it

    def __post_init__(self) -> None:
        serving = tuple(sorted((node, weight) for node, weight in zip(NODES, WEIGHTS, strict=True) if weight))
        self.lots = WeightedDraw(serving)
        self.tree.put({
            versions_key(MODEL): encode(Versions((0,), 1, 1 << 40)), set_key(MODEL, 0): encode(ServingSet(serving)),
            price_key(MODEL): encode(Price(12)),
        })
        for number in range(self.asked):
            self.ask_one(number)
        for at in range(self.tops + 1):
            self.roots[at] = app_hash(self.tree.root)

    # -- what happens ------------------------------------------------------------------------------------------------

    def ask_one(self, number: int) -> str:
        """One inference more. Its id."""
        height = 2 + number * 2
        session = sha256(b"session").digest() if number % 5 == 4 else bytes(32)
        request = Request(
            VERSION, NETWORK, PAYER, number + 1, MODEL, sha256(b"body %d" % number).digest(), Params(), 64, 256, 20,
            height + 100, PAYER, height, session=session, session_height=height - 1 if any(session) else 0,
        )
        signed = SignedRequest(request, bytes(64))
        agent = NODES[number % 3]
        beacon = beacon_of(request.session_height or height)
        drawn = draw_executors(beacon, draw_id(signed), self.lots, agent, 8)
        end = ENDS[number % len(ENDS)]
        record = Inference(signed, end, agent, beacon_of(height), drawn, 12, 3840, height + 1)
        name = signed.inference_id.hex()
        self.records[name] = record
        self.stories[name] = _story(name, record, number, end, height)
        self.tree.put({keys.inference(signed.inference_id): encode(record)})
        return name

    def grow(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.tops += 1
            self.roots[self.tops] = app_hash(self.tree.root)

    # -- what is asked ------------------------------------------------------------------------------------------------

    def peers(self) -> tuple[str, ...]:
        return () if self.is_down else tuple(map(peer_id, NODES[:5])) if self.tops else (peer_id(NODES[0]),)

    async def ask(self, kind: type[T], body: dict[str, Any]) -> T:
        return await self.ask_peer(peer_id(NODES[0]), kind, body)

    async def ask_peer(self, peer: str, kind: type[T], body: dict[str, Any]) -> T:
        op = body["op"]
        self.asks.append(op)
        if self.held is not None:
            await self.held.wait()
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise Unavailable("no peer is connected: nobody answers at the addresses that are known", field="peers")
        if op == "status":
            return read(kind, to_builtins(self._status(peer)), op, peer)
        return read(kind, to_builtins(getattr(self, f"_{op}")(body)), op, peer)

    def _status(self, peer: str) -> status.PublicStatus:
        at = next(at for at, node in enumerate(NODES) if peer_id(node) == peer)
        consensus = ConsensusStatus(
            self.tops + 1, 0, "PREVOTE", True, NODES[0].hex(), 100, 0, False, 3 * at, "", vote_streams=4,
        )
        return status.PublicStatus(
            peer, NODES[at].hex(), self.network, "ready", (f"/ip4/127.0.0.{at + 1}/tcp/4001/p2p/{peer}",), 4,
            1 if self.tops else 0, self.tops, True, "00" * 32, time_of(self.tops), at % 2,
            status.SprintStatus(0, -1, 0), consensus,
        )

    def _block(self, body: dict[str, Any]) -> blocks.BlockAnswer:
        height = self._known(body["height"])
        header = self._header(height)
        rows = [
            blocks.BlockRecord(kind, name) for name, story in self.stories.items()
            for kind, at in (("START", story.start_height), ("FINISH", story.finish_height),
                             ("OUTPUT", story.output_height)) if at == height
        ]
        rows += [blocks.BlockRecord("VERDICT", name) for name, story in self.stories.items()
                 for verdict in story.verdicts if verdict.height == height]
        refused = (blocks.RefusedRecord(NODES[1].hex(), 0, "nonce", "client_nonce"),) if height % 17 == 0 else ()
        return blocks.BlockAnswer(
            height, header.block_id.hex(), 0, 1 if height % 13 == 0 else 0, header.proposer.hex(), header.time_ms,
            header.app_hash.hex(), header.beacon.hex(), len({row.inference_id for row in rows}),
            len(self._light_block(height).certificate.signatures), tuple(rows), refused,
        )

    def _light(self, body: dict[str, Any]) -> blocks.Light:
        height = self._known(body["height"])
        return blocks.Light(height, encode(self._light_block(height)).hex())

    def _light_block(self, height: int) -> LightBlock:
        header = self._header(height)
        voters = tuple(sorted((node, weight) for node, weight in zip(NODES, WEIGHTS, strict=True) if weight))
        late = height % len(voters)
        signed = tuple((node, bytes(64)) for at, (node, _) in enumerate(voters) if at != late or height % 3)
        return LightBlock(header, CommitCertificate(height, 0, header.block_id, signed), voters, voters)

    def _header(self, height: int) -> Header:
        return Header(
            VERSION, NETWORK, height, 0, time_of(height), bytes(32), bytes(32), bytes(32), self.roots[height - 1],
            bytes(32), beacon_of(height), b"", NODES[height % 5],
        )

    def _known(self, height: int) -> int:
        if not 1 <= height <= self.tops:
            raise InvalidRequest(f"no block {height}; the top is {self.tops}", field="height", code="not_found")
        return height

    def _inference(self, body: dict[str, Any]) -> inferences.InferenceAnswer:
        if body["id"] not in self.stories:
            raise InvalidRequest("the chain has no such inference (yet)", field="id", code="not_found")
        return self.stories[body["id"]]

    def _prove(self, body: dict[str, Any]) -> blocks.Proved:
        value, proof = self.tree.proved(keys.inference(bytes.fromhex(body["id"])))
        return blocks.Proved(self.tops - 1, None if value is None else value.hex(), encode(proof).hex())

    def _serving(self, body: dict[str, Any]) -> blocks.ServingAnswer:
        proof = prove_serving(self.tree.proved, self.tops - 1, body["model"], body["height"])
        return blocks.ServingAnswer(proof.height, encode(proof).hex())

    def _prices(self, body: dict[str, Any]) -> network.PricesAnswer:
        rows = (network.PriceRow(MODEL, 12 + self.tops // 20, 310),) if self.tops else ()
        return network.PricesAnswer(self.tops, rows)

    def _verification(self, body: dict[str, Any]) -> network.VerificationAnswer:
        rows = tuple(conduct(at) for at in range(len(NODES))) if self.tops else ()
        honest, alarms, cheats = (212, 1, 3) if self.tops else (0, 0, 0)
        return network.VerificationAnswer(self.tops, self.tops // 20, honest, alarms, cheats, 9210, (), rows)

    def _sprint(self, body: dict[str, Any]) -> network.SprintAnswer:
        if not self.tops:
            return network.SprintAnswer(0, 0, "none")
        epoch = self.tops // 20
        runs = tuple(
            network.RunRow(NODES[at].hex(), MODEL, 40 + at, 6, 6 - at % 2, 4 - at % 3, int(at == 3), at % 2, ())
            for at in range(4)
        )
        weights = tuple(
            network.SprintWeight(node.hex(), owner.hex(), weight, weight + 1)
            for node, owner, weight in zip(NODES, OWNERS, WEIGHTS, strict=True)
        )
        first = epoch * 20 + 1
        return network.SprintAnswer(
            self.tops, epoch, "open", first, first + 4, first + 6, first + 12, runs, weights,
        )

    def _earnings(self, body: dict[str, Any]) -> network.EarningsAnswer:
        epoch = body["epoch"]
        last = epoch * 20 + 20
        sums = network.EpochSumsRow(
            last, 2_500_000, 91_240, 40_000 if epoch == 1 else 0, 0, 88_000, 3_200, 0, 1_840, 0, 7_600, 12,
        ) if last <= self.tops else network.EpochSumsRow(*(0,) * 12)
        own = network.OwnSums(31_000, 2_600, 30_100, 812_000, 1_100, 0, 0, 0, 0, 0, 0)
        return network.EarningsAnswer(
            self.tops, epoch, epoch * 20 + 1, last, body["node"], True, (), -1, own, sums, (),
        )

    def _account(self, body: dict[str, Any]) -> accounts.AccountAnswer:
        wanted = body["account"]
        nodes = tuple(
            accounts.AccountNode(
                NODES[at].hex(), WEIGHTS[at], (MODEL,), ("vllm-cpu-bf16",), 0, HOSTILE, 5_000_000, 0, 0, (),
            )
            for at, owner in enumerate(OWNERS) if owner.hex() == wanted
        )
        is_known = self.tops > 0 and (bool(nodes) or wanted == PAYER.hex())
        return accounts.AccountAnswer(
            wanted, 812_440_120 if is_known else 0, 31 if is_known else 1, self.tops, "00" * 32, 0, 500_000, (), nodes,
            (),
        )


def time_of(height: int) -> int:
    return START_MS + height * STEP_MS + (height % 4) * 90


def beacon_of(height: int) -> bytes:
    return sha256(b"beacon %d" % height).digest()


def conduct(at: int) -> network.ConductRow:
    """What the chain holds of node number `at`."""
    return network.ConductRow(
        NODES[at].hex(), OWNERS[at].hex(), WEIGHTS[at], 900 - 100 * at,
        ({"model": MODEL, "stack": "vllm-cpu-bf16", "milli": 900},), int(at == 6), at, 30 - at, 28 - at, 20, 12, 4800,
        0, 0, 120 * at - 300, 12, 0, 2, int(at == 4), -50, 20, 14, at % 3, 40, int(at == 5), 0, 0, at == 6,
        900 if at == 6 else 0, HOSTILE if at == 6 else "", False, 0, "", 12, 0, int(at == 2), at == 4,
        70 if at == 4 else 0,
        "silent" if at == 4 else "", int(at == 6), 3, 0,
        "excluded until height 900, because of a dispute" if at == 6 else "",
    )


def _story(name: str, record: Inference, number: int, end: str, height: int) -> inferences.InferenceAnswer:
    """What the chain says of it, as far as it went."""
    executor = record.candidates[0]
    done = end != "STARTED" and end != "EXPIRED"
    checked = end not in ("STARTED", "SETTLED", "EXPIRED")
    members = tuple(node.hex() for node in NODES[4:7])
    told = checked and end not in ("VALIDATING", "REVEALING")
    against = {"INVALIDATED": 3, "DISPUTED": 1, "UPHELD": 1}.get(end, 0)
    verdicts = tuple(
        inferences.VerdictRow(
            node, at >= against, "valid" if at >= against else "different_model",
            HOSTILE if at < against else "", height + 5, 8000 if at < against else -900 - at, 24,
        )
        for at, node in enumerate(members)
    ) if told else ()
    committee = inferences.CommitteeRow(
        height + 3, members, height + 7, end == "REVEALING", members if end != "VALIDATING" else members[:1],
        members if told else (),
    )
    stands, ended = end in ("VALIDATED", "SETTLED", "UPHELD"), end in (
        "VALIDATED", "SETTLED", "UPHELD", "INVALIDATED", "WITHHELD", "EXPIRED")
    charged = 12 * (18 + 24) if done else 0
    return inferences.InferenceAnswer(
        id=name, status=end, reason="" if stands or not ended else f"{end.lower()}: {HOSTILE}", model=MODEL,
        account=PAYER.hex(), agent=record.agent.hex(), executor=executor.hex() if done else "", draw_height=height,
        candidates=tuple(node.hex() for node in record.candidates), busy=(), start_height=height + 1,
        finish_height=height + 2 if done else 0, output_height=height + 2 if done else 0,
        end_height=height + 6 if ended else 0, output_matches=True if done else None, outcome="",
        artifact_root="ab" * 32 if done else "", prompt_tokens=18 if done else 0, output_tokens=24 if done else 0,
        taken_over=0, finish_reason="stop" if done else "", streamed_tokens=24 if done else 0,
        committee=members if checked else (), committee_height=height + 3 if checked else 0,
        committees=(committee,) if checked else (), dispute_height=height + 5 if against == 1 else 0, appeal_until=0,
        appeal=None, verdicts=verdicts, fault="", blame_height=0, price_micro=12, escrow_micro=3840,
        charged_micro=charged, paid_micro=charged if stands else 0,
        refunded_micro=charged if ended and not stands else 0,
    )


def timing() -> dict[str, Timed]:
    return {node.hex(): Timed(12, 180 + 30 * at, 41.5 - 3 * at) for at, node in enumerate(NODES[:4])}


@asynccontextmanager
async def opened(source: Scripted, other: App = nothing_else, *, chat: bool = True) -> AsyncIterator[Explorer]:
    """The application over a scripted network."""
    async with open_explorer(source, timing=timing, chat=chat) as explorer:
        yield explorer


@asynccontextmanager
async def served(
    source: Scripted, other: App = nothing_else, *, chat: bool = True,
    wrap: Callable[[App], App] = lambda app: app,
) -> AsyncIterator[str]:
    """The same on a port. Its address."""
    async with opened(source, chat=chat) as explorer, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        stop = trio.Event()
        nursery.start_soon(HttpServer(wrap(Beside(explorer, other))).serve, listeners, stop)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


