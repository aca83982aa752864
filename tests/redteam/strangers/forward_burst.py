"""Sixty paid questions at once, of twelve accounts, through all agents; nobody reads the answers (K-D, K-G).

More of them ran at once than the limit of sixteen allows, for more money than the accounts had. The client leaves after
three seconds, so half of the work is for nothing.
"""

from __future__ import annotations

import trio

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain, public_key_of
from p2p.base.types import VERSION, Params, Request, SignedRequest
from p2p.gossip.host import Network
from p2p.peer.config import DEFAULT_MODEL
from p2p.wire.frames import Accepted, Ask, Failure, pack_frame, receive_frame
from tests.redteam.target import DEEDS, Target, height, network_of

AT_ONCE = 60
EVERY_S = 4.0
STAYS_S = 3.0
PROMPT_TOKENS, TOKENS, AHEAD = 100, 200, 60


async def attack(target: Target) -> None:
    async with target.joined() as network, trio.open_nursery() as nursery:
        number = 0
        while True:
            drawn = await height(target, network)
            for _ in range(AT_ONCE):
                nursery.start_soon(_ask, target, network, number, drawn)
                number += 1
            await trio.sleep(EVERY_S)


async def _ask(target: Target, network: Network, number: int, drawn: int) -> None:
    """Signed by hand: a client that checks what it is told takes more of the machine than the peers do."""
    account, peer = target.rich[number % len(target.rich)], target.peers()[number % len(target.addresses)]
    body, price = one_message(f"burst {number}"), 4 * target.genesis.models[0].price_micro
    request = Request(
        VERSION, network_of(target.genesis), account.public, 1 + number // len(target.rich), DEFAULT_MODEL,
        body.hash, Params(), PROMPT_TOKENS, TOKENS, price, drawn + AHEAD, account.public,
        drawn, public_key_of(peer),
    )
    signed = SignedRequest(request, account.sign(Domain.REQUEST, request.network, encode(request)))
    with trio.move_on_after(STAYS_S) as stay:
        try:
            stream = await network.open_stream(peer, "infer")
            await stream.send(pack_frame(Ask(VERSION, signed, encode(body))))
            first = await receive_frame(stream, Accepted, Failure)
        except FolkmootError as error:
            DEEDS[f"unanswered: {error.code}"] += 1
            return
        DEEDS[f"refused: {first.field}" if isinstance(first, Failure) else "accepted"] += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await stream.reset()
    DEEDS["left"] += stay.cancelled_caught
