"""Says for people what is connected, what is not, and why.

Law: every peer that is not connected has its reason, and every count says what it counts.
"""

from __future__ import annotations

from typing import Any

import trio

from p2p.gossip.connections.status import Ban, Links, NetworkStatus, TroubleRow
from p2p.gossip.discovery.discovery import Discovery
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


def status(net: Discovery, gossip: dict[str, Any]) -> NetworkStatus:
    """For `folkmoot status`. gossip: what the router says of itself."""
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
        net.door.partings.status(), links(net), gossip,
    )


def links(net: Discovery) -> Links:
    """What this peer did to be connected."""
    return Links(
        linked=len(net.linked()), own_slots=net.wanted, own_slots_empty=net.empty, partners=len(net.partners()),
        partners_missing=len(net.missing), known=len(net.book), forgotten=net.book.forgotten,
        dials=net.counts["dials"], dials_failed=net.counts["failed"], dials_waited=net.counts["waited"],
        searches=net.counts["searches"], greetings=net.counts["greetings"], strain=round(strain(), 2),
    )
