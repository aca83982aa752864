"""Says for people what is connected, what is not, and why.

Law: every peer that is not connected has its reason, and every count says what it counts.
"""

from __future__ import annotations

from typing import Any

import trio

from p2p.gossip.connections.budget import relay_of
from p2p.gossip.connections.status import Ban, Links, NetworkStatus, PlaceRow, ReachStatus, TroubleRow
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.relays.service import RelayService
from p2p.machine.deadlines import strain

DIALLING = "dialling"  # in place of a reason why nobody is connected
_SHOWN_TROUBLES = 3  # reasons in one sentence, apart from those of the bootstrap
_SHOWN_ID = 16  # characters of a peer id in it


def alone(net: Discovery) -> str:
    """Why nobody is connected, as one sentence."""
    now, bootstrap = trio.current_time(), net.bootstrap
    reasons = [f"{address}: {t.message}" for p, address in bootstrap if (t := net.troubles.get(p)) is not None]
    others = [(p, t) for p, t in net.troubles.items() if t.until > now and p not in dict(bootstrap)]
    reasons += [f"{p[:_SHOWN_ID]}...: {t.message}" for p, t in others[:_SHOWN_TROUBLES]]
    if reasons:
        return "; ".join(reasons) + "; still trying"
    if not bootstrap and not len(net.book):
        return "no --bootstrap address is given and no peer is known: waiting to be dialled"
    return DIALLING


def status(net: Discovery, gossip: dict[str, Any], relaying: RelayService) -> NetworkStatus:
    """For `folkmoot status`. gossip: what the router says of itself. relaying: what we do for others as a relay."""
    now = trio.current_time()
    troubles = [
        TroubleRow(peer, t.code, t.message, round(max(0.0, t.until - now)), t.by_them)
        for peer, t in net.troubles.items()
    ]
    bans = net.scores.bans(now).items()
    return NetworkStatus(
        net.door.status(), "" if net.connected() else alone(net),
        tuple(Ban(peer, round(left), why) for peer, (left, why) in bans),
        tuple(t for t in troubles if t.by_them), tuple(t for t in troubles if not t.by_them), net.twin,
        net.door.partings.status(), links(net), gossip, reached(net, relaying),
    )


def reached(net: Discovery, relaying: RelayService) -> ReachStatus:
    """How others reach this peer, and what it does as a relay."""
    now, outside, places = trio.current_time(), net.outside, relaying.places
    held = tuple(
        PlaceRow(place.relay.peer, place.address, round(place.until - now))
        for place in outside.holding.places.values()
    )
    return ReachStatus(
        verdict=outside.verdict(now).value, reason=outside.reason(now) or _why_unknown(net),
        witnesses=len(outside.reach.decisive(now)), clock_ms=outside.reach.clock_ms(now), places=held,
        refused=outside.holding.why, relayed=sum(bool(relay_of(one.group)) for one in net.held()),
        relaying=relaying.is_open(), lodgers=len(places.peers()),
        circuits=relaying.circuits, circuits_made=places.made, carried_bytes=places.carried,
        turned_away={status.name.lower(): count for status, count in places.refused.items()},
    )


def _why_unknown(net: Discovery) -> str:
    if not net.bound():
        return "it listens nowhere"
    return "nobody who sees it from another machine has said so yet"


def links(net: Discovery) -> Links:
    """What this peer did to be connected."""
    return Links(
        linked=len(net.linked()), own_slots=net.wanted, own_slots_empty=net.empty, partners=len(net.partners()),
        partners_missing=len(net.missing), known=len(net.book), forgotten=net.book.forgotten,
        dials=net.counts["dials"], dials_failed=net.counts["failed"], dials_waited=net.counts["waited"],
        searches=net.counts["searches"], greetings=net.counts["greetings"], strain=round(strain(), 2),
    )
