"""What a peer answers about itself and its chain. Law: read only; the same operations on the control socket and the query stream.

`query` returns plain data (text keys) or raises a typed error naming the field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.base.limits import MAX_MODEL_NAME
from p2p.base.types import (
    OutputRecord,
    PlantReveal,
    Record,
    RecordKind,
    SignedBatch,
    SignedBusy,
    SignedFinish,
    SprintOpen,
    StartRecord,
    Verdict,
    VerdictCommit,
)
from p2p.chain.proofs.serving import prove_serving
from p2p.chain.proofs.state import epoch_key, key_of
from p2p.ledger.transactions import read

if TYPE_CHECKING:
    from p2p.chain.chain import Chain

log = structlog.get_logger()

MAX_NUMBER = (1 << 32) - 1  # heights, epochs, places: no chain gets there
PUBLIC_OPS = frozenset(
    {"status", "account", "tip", "inference", "block", "light", "verification", "governance", "prices", "earnings", "prove", "sprint", "serving",
     "transaction"}
)

# of `status`, what a stranger is told; all else, with its paths, words of others and errors, is for this peer's owner
PUBLIC_STATUS = frozenset(
    {"peer_id", "node", "network", "state", "addresses", "connections", "base", "height", "registered", "app_hash", "last_time_ms", "jobs",
     "sprint", "consensus"}
)


class Queries:
    """status: a function giving the live part of the answer to `status`; peers: the connected peers; fate: of an order, by its id."""

    def __init__(
        self, chain: Chain, status: Callable[[], dict[str, Any]], peers: Callable[[], list[dict[str, Any]]],
        fate: Callable[[bytes], dict[str, Any]] = lambda op_id: {"op_id": op_id.hex(), "state": "unknown"},
    ) -> None:
        self._chain = chain
        self._status = status
        self._peers = peers
        self._ops: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "status": lambda _: self._status(),
            "peers": lambda _: {"peers": self._peers()},
            "account": self._account,
            "tip": self._tip,
            "inference": self._inference,
            "block": self._block,
            "light": self._light,
            "verification": lambda _: self._chain.answers.verification(),
            "governance": lambda _: self._chain.answers.governance(),
            "payload": self._payload,
            "prices": lambda _: self._chain.answers.prices(),
            "earnings": self._earnings,
            "sprint": lambda _: self._chain.answers.sprint(),
            "prove": self._prove,
            "serving": self._serving,
            "transaction": lambda request: fate(_hex(request, "id")),
        }

    def query(self, request: object, *, public: bool = False) -> dict[str, Any]:
        """Answer one operation. public: only what any stranger on the network may ask."""
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            raise InvalidRequest("a query is a map with the operation's name under 'op'", field="op")
        op = request["op"]
        if op not in self._ops or (public and op not in PUBLIC_OPS):
            raise InvalidRequest(f"no operation {op[:40]!r}; there are {', '.join(sorted(self._ops))}", field="op")
        try:
            answer = self._ops[op](request)
        except FolkmootError:
            raise
        except Exception as error:  # the one boundary of both ways in: what a question meets ends the question
            log.exception("a query failed", op=op)
            raise Unavailable(f"this peer could not answer {op!r}; its log says why", field="op", code="internal") from error
        return {key: value for key, value in answer.items() if not public or op != "status" or key in PUBLIC_STATUS}

    def _account(self, request: dict[str, Any]) -> dict[str, Any]:
        """since: names the height after which notices are wanted; all that are kept when left out."""
        return self._chain.answers.account(_hex(request, "account"), _number(request, "since", 0))

    def _tip(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a client wants to know before it signs, in one answer (p2p/wire/answers.py, Tip)."""
        top, model = self._chain.height(), request.get("model")
        view = self._chain.answers.account(_hex(request, "account"), _number(request, "since", 0))
        found = self._chain.blocks.light_block(top) if top else None
        return {
            "height": top, "light": encode(found).hex() if found else None,
            "price_micro": self._chain.reader.price_micro(model) if isinstance(model, str) and len(model) <= MAX_MODEL_NAME else None,
            **{name: view[name] for name in ("next_nonce", "balance_micro", "notices")},
        }

    def _earnings(self, request: dict[str, Any]) -> dict[str, Any]:
        """One page of a participant's epoch, from inference number `start` on."""
        return self._chain.answers.earnings(_number(request, "epoch", None), _hex(request, "node"), _number(request, "start", 0))

    def _inference(self, request: dict[str, Any]) -> dict[str, Any]:
        found = self._chain.answers.inference(_hex(request, "id"))
        if found is None:
            raise InvalidRequest("the chain has no such inference (yet)", field="id", code="not_found")
        return found

    def _payload(self, request: dict[str, Any]) -> dict[str, Any]:
        """What is needed to check one answer again, hexadecimal CBOR; only for this peer's owner: it holds the prompt."""
        inference_id = _hex(request, "id")
        payload, claim = self._chain.payloads.read(inference_id), self._chain.reader.claim(inference_id)
        if payload is None:
            raise InvalidRequest(
                "the payload is not here; agent, executor and drawn validators have it until the inference leaves the state", field="id",
                code="not_found",
            )
        if claim is None:
            raise InvalidRequest("the chain has no finish record of it (yet)", field="id", code="not_found")
        return {
            "id": inference_id.hex(), "payload": payload.hex(), "request": encode(claim.request).hex(), "finish": encode(claim.finish).hex(),
            "beacon": claim.beacon.hex(), "candidates": [node.hex() for node in claim.candidates],
        }

    def _light(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a light client needs of one block, as hexadecimal CBOR of a LightBlock."""
        height = _height(request)
        found = self._chain.blocks.light_block(height)
        if found is None:
            raise InvalidRequest(f"no block {height}; the top is {self._chain.height()}", field="height", code="not_found")
        return {"height": height, "light": encode(found).hex()}

    def _prove(self, request: dict[str, Any]) -> dict[str, Any]:
        """A value of the state after the top height and its place in the tree; header height + 1 will stand for it. Of an inference that left
        the state: the sums of its epoch, and the way from its record to their root."""
        kind, id_ = request.get("kind"), _hex(request, "id")
        key = key_of(kind if isinstance(kind, str) else "", id_)
        left = self._chain.answers.left_proof(id_) if kind == "inference" else None
        value, proof = self._chain.state.prove(epoch_key(left.epoch) if left else key)
        return {
            "height": self._chain.height(), "value": None if value is None else value.hex(), "proof": encode(proof).hex(),
            "left": encode(left).hex() if left else None,
        }

    def _serving(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whom a draw of `model` at `height` is made from: a ServingProof, as hexadecimal CBOR."""
        model = request.get("model")
        if not isinstance(model, str) or len(model) > MAX_MODEL_NAME:
            raise InvalidRequest("a model's name is wanted", field="model")
        proof = prove_serving(self._chain.state.prove, self._chain.height(), model, _number(request, "height", None))
        return {"height": proof.height, "proof": encode(proof).hex()}

    def _block(self, request: dict[str, Any]) -> dict[str, Any]:
        height = _height(request)
        found = self._chain.blocks.block(height)
        if found is None:
            raise InvalidRequest(f"no block {height}; the top is {self._chain.height()}", field="height", code="not_found")
        block, certificate = found
        header = block.header
        return {
            "height": height, "block_id": block.block_id.hex(), "round": header.round, "commit_round": certificate.round,
            "proposer": header.proposer.hex(), "time_ms": header.time_ms, "app_hash": header.app_hash.hex(),
            "beacon": header.beacon.hex(), "txs": len(block.txs), "signatures": len(certificate.signatures),
            "records": [row for raw in block.txs for row in _records(raw)],
            "refused": [
                {"sender": r.sender.hex(), "index": r.index, "code": r.code, "field": r.field} for r in self._chain.blocks.receipts(height)
            ],
        }


def _height(request: dict[str, Any]) -> int:
    height = request.get("height")
    if not isinstance(height, int) or isinstance(height, bool) or not 1 <= height <= MAX_NUMBER:
        raise InvalidRequest(f"a height is a whole number from 1 to {MAX_NUMBER}", field="height")
    return height


def _number(request: dict[str, Any], field: str, default: int | None) -> int:
    value = request.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
        raise InvalidRequest(f"a whole number from 0 to {MAX_NUMBER} is wanted", field=field)
    return value


def _hex(request: dict[str, Any], field: str) -> bytes:
    value = request.get(field)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) and len(value) == 64 else b""
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InvalidRequest("64 hexadecimal digits are wanted", field=field)
    return raw


def _records(raw: bytes) -> list[dict[str, Any]]:
    """One row per record of a transaction: its kind and what inference it is about. An order by itself is one record."""
    tx, rows = read(raw), []
    for record in tx.batch.records if isinstance(tx, SignedBatch) else (Record(RecordKind.OP, b""),):
        try:
            about = _about(record.kind, record.body).hex()
        except FolkmootError:
            about = ""  # the ledger refused it, the block still carries it
        rows.append({"kind": record.kind.name, "inference_id": about})
    return rows


def _about(kind: RecordKind, body: bytes) -> bytes:
    """The inference a record is about; nothing for a PLANT_COMMIT and a SPRINT_COMMIT, which name none."""
    if kind is RecordKind.START:
        return bytes(unpack(StartRecord, body).signed_request.inference_id)
    if kind is RecordKind.FINISH:
        return unpack(SignedFinish, body).record.inference_id
    if kind is RecordKind.SPRINT_OPEN:
        return unpack(SprintOpen, body).finish.record.inference_id
    if kind is RecordKind.BUSY:
        return unpack(SignedBusy, body).record.inference_id
    shape = _BARE.get(kind)
    return unpack(shape, body).inference_id if shape else b""


_BARE: dict[RecordKind, type[OutputRecord | VerdictCommit | Verdict | PlantReveal]] = {
    RecordKind.OUTPUT: OutputRecord, RecordKind.VERDICT_COMMIT: VerdictCommit, RecordKind.VERDICT: Verdict,
    RecordKind.PLANT_REVEAL: PlantReveal,
}
