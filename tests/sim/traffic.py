"""Something for the ledger to do: requests that escrow money and are never finished, so it all returns at the
deadline."""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain, Key, digest
from p2p.base.types import VERSION, Batch, Params, Record, RecordKind, Request, SignedBatch, SignedRequest, StartRecord
from tests.sim.peer import Peer

CLIENT = Key(digest(b"simulated client"))
MODEL = "m"


def submit(peer: Peer) -> None:
    """One batch of `peer` with one StartRecord, to its own mempool and to all others."""
    if not peer.alive:
        return
    chain, network = peer.chain, peer.genesis.network
    nonce = peer.world.asked = peer.world.asked + 1
    request = Request(
        VERSION, network, CLIENT.public, nonce, MODEL, bytes(32), Params(), 10, 10, 100, chain.height() + 6,
        CLIENT.public,
        chain.height(),
    )
    signed = SignedRequest(request, CLIENT.sign(Domain.REQUEST, network, encode(request)))
    record = Record(RecordKind.START, encode(StartRecord(signed, peer.key.public)))
    batch = Batch(VERSION, network, peer.key.public, chain.reader.batch_nonce(peer.key.public) + 1, (record,))
    raw = encode(SignedBatch(batch, peer.key.sign(Domain.TX, network, encode(batch))))
    try:
        chain.pool.add(raw)
    except FolkmootError:
        return  # one of ours is still waiting
    for other in peer.others:
        peer.send(other, "transactions", raw)
