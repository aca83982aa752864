"""Queries to a peer: one operation by name, with its arguments as plain data; the answer as plain data.

Law: read only. The owner asks on the control socket (`answer`), strangers on the query stream (`answer_public`). What a
question meets ends the question, never the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct, convert, to_builtins

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.base.serving_limits import MAX_MODEL_NAME
from p2p.machine.tracing import steps_of
from p2p.wire.answers.accounts import TransactionAnswer
from p2p.wire.answers.genesis import genesis_answer
from p2p.wire.answers.model_files import ModelFileAnswer, model_file_answer, no_model_file
from p2p.wire.answers.status import ConnectedPeer, HopsAnswer, OwnerStatus, PeersAnswer, PublicStatus

if TYPE_CHECKING:
    from p2p.chain.chain import Chain

    Operation = Callable[[dict[str, Any]], Struct]

log = structlog.get_logger()

MAX_NUMBER = (1 << 32) - 1  # of heights, epochs, places: no chain gets there
# all but the connected peers, and payloads: they hold prompts
PUBLIC_OPS = frozenset({
    "status", "account", "held", "tip", "inference", "block", "light", "verification", "governance", "prices",
    "earnings", "prove", "sprint", "serving", "transaction", "model_file", "genesis",
})


class Queries:
    """Answers by operation.

    status: what the peer's owner is told of it. peers: ids of the peers that are connected. transaction: what became of
    an account's transaction, by its id. files: a model's tokenizer or chat template by its SHA-256; None: not here.
    """

    def __init__(
        self, chain: Chain, status: Callable[[], OwnerStatus], peers: Callable[[], tuple[str, ...]],
        transaction: Callable[[bytes], TransactionAnswer], files: Callable[[bytes], bytes | None] = lambda wanted: None,
    ) -> None:
        answers, beginning = chain.answers, encode(chain.genesis)
        self._ops: dict[str, Operation] = {
            "status": lambda _: status(),
            "peers": lambda _: PeersAnswer(tuple(map(ConnectedPeer, peers()))),
            # since: only notices of later heights are wanted
            "account": lambda asked: answers.account(_hex(asked, "account"), _number(asked, "since", 0)),
            "held": lambda asked: answers.held(_hex(asked, "account")),
            "tip": lambda asked: answers.tip(_hex(asked, "account"), _model(asked), _number(asked, "since", 0)),
            "hops": lambda asked: HopsAnswer(steps_of(_hex(asked, "id"))),
            "inference": lambda asked: answers.inference(_hex(asked, "id")),
            "block": lambda asked: answers.block(_height(asked)),
            "light": lambda asked: answers.light(_height(asked)),
            "verification": lambda _: answers.verification(),
            "governance": lambda _: answers.governance(),
            "payload": lambda asked: answers.payload(_hex(asked, "id")),
            "prices": lambda _: answers.prices(),
            "earnings": lambda asked: answers.earnings(
                _number(asked, "epoch", None), _hex(asked, "node"), _number(asked, "start", 0)
            ),
            "sprint": lambda _: answers.sprint(),
            "prove": lambda asked: answers.prove(_kind(asked), _hex(asked, "id")),
            "serving": lambda asked: answers.serving(_wanted_model(asked), _number(asked, "height", None)),
            "transaction": lambda asked: transaction(_hex(asked, "id")),
            "genesis": lambda asked: genesis_answer(beginning, _number(asked, "offset", 0)),
            "model_file": lambda asked: _model_file(files, _hex(asked, "hash"), _number(asked, "offset", 0)),
        }
        self._public_ops: dict[str, Operation] = {
            **{op: answer for op, answer in self._ops.items() if op in PUBLIC_OPS},
            "status": lambda _: convert(status(), PublicStatus, from_attributes=True),
        }

    def answer(self, request: object) -> dict[str, Any]:
        """For the peer's owner. Raises InvalidRequest naming the field that is wrong."""
        return _answer(self._ops, request)

    def answer_public(self, request: object) -> dict[str, Any]:
        """For any stranger on the network. Raises InvalidRequest naming the field that is wrong."""
        return _answer(self._public_ops, request)


def _answer(ops: dict[str, Operation], request: object) -> dict[str, Any]:
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise InvalidRequest("a query is a map with the operation's name under 'op'", field="op")
    op = request["op"]
    if op not in ops:
        raise InvalidRequest(f"no operation {op[:40]!r}; there are {', '.join(sorted(ops))}", field="op")
    try:
        found: dict[str, Any] = to_builtins(ops[op](request))
    except FolkmootError:
        raise
    except Exception as error:  # the one boundary of both ways in
        log.exception("a query failed", op=op)
        why = f"this peer could not answer {op!r}; its log says why"
        raise Unavailable(why, field="op", code="internal") from error
    return found


def _model_file(files: Callable[[bytes], bytes | None], wanted: bytes, offset: int) -> ModelFileAnswer:
    raw = files(wanted)
    if raw is None:
        raise no_model_file(wanted)
    return model_file_answer(raw, wanted, offset)


def _height(request: dict[str, Any]) -> int:
    height = request.get("height")
    if not isinstance(height, int) or isinstance(height, bool) or not 1 <= height <= MAX_NUMBER:
        raise InvalidRequest(f"a height is a whole number from 1 to {MAX_NUMBER}", field="height")
    return height


def _number(request: dict[str, Any], field: str, default: int | None) -> int:
    """default: where the field is left out; None: it must be there."""
    value = request.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
        raise InvalidRequest(f"give a whole number from 0 to {MAX_NUMBER}", field=field)
    return value


def _hex(request: dict[str, Any], field: str) -> bytes:
    """32 bytes."""
    value = request.get(field)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) and len(value) == 64 else b""
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InvalidRequest("give 64 hexadecimal digits", field=field)
    return raw


def _kind(request: dict[str, Any]) -> str:
    kind = request.get("kind")
    return kind if isinstance(kind, str) else ""


def _model(request: dict[str, Any]) -> str | None:
    model = request.get("model")
    return model if isinstance(model, str) and len(model) <= MAX_MODEL_NAME else None


def _wanted_model(request: dict[str, Any]) -> str:
    model = _model(request)
    if model is None:
        raise InvalidRequest(f"give a model's name of at most {MAX_MODEL_NAME} characters", field="model")
    return model
