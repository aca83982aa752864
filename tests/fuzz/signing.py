"""Signs messages of any content.

Law: the innermost field may have any value; every signature around it is valid.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key
from p2p.base.types import (
    VERSION,
    Batch,
    BusyRecord,
    FinishRecord,
    Record,
    Request,
    SignedBatch,
    SignedBusy,
    SignedFinish,
    SignedRequest,
)


def batch(key: Key, network: str, nonce: int, records: tuple[Record, ...]) -> SignedBatch:
    return sign_batch(key, Batch(VERSION, network, key.public, nonce, records))


def sign_batch(key: Key, body: Batch) -> SignedBatch:
    return SignedBatch(body, key.sign(Domain.TX, body.network, encode(body)))


def sign_request(key: Key, body: Request) -> SignedRequest:
    return SignedRequest(body, key.sign(Domain.REQUEST, body.network, encode(body)))


def sign_finish(key: Key, network: str, body: FinishRecord) -> SignedFinish:
    return SignedFinish(body, key.sign(Domain.FINISH, network, encode(body)))


def sign_busy(key: Key, network: str, body: BusyRecord) -> SignedBusy:
    return SignedBusy(body, key.sign(Domain.BUSY, network, encode(body)))
