"""What an executor checks of a Forward before it does any work.

Law: nothing is taken on the agent's word. No penalty where the agent may know more or less of the chain than this peer,
or where its client asked another agent as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from p2p.base.body import Body, open_body
from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.keys import peer_id
from p2p.base.serving_limits import BEACON_MAX_AGE, HEIGHTS_APART

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.wire.frames import Forward


class Checked(NamedTuple):
    """A Forward that was checked."""

    beacon: bytes  # of the draw
    drawn: tuple[bytes, ...]  # the nodes it drew, in the order in which they are asked
    body: Body


def check_forward(chain: Chain, node: bytes, sender: str, forward: Forward) -> Checked:
    """The draw by which `node` is to answer, and what. sender: peer id at the other end of the stream. Raises
    RemoteProtocolError, InvalidRequest and Unavailable that name the field."""
    signed = forward.signed_request
    if peer_id(forward.agent) != sender:
        raise RemoteProtocolError("the stream belongs to another peer than the agent it names", field="agent")
    if not chain.reader.may_start(forward.agent):
        raise RemoteProtocolError(
            "this agent cannot put a Start on chain: only participants may be agents; ask one of them", field="agent",
            penalty=0
        )
    if not signed.request.may_be_started_by(forward.agent):
        raise RemoteProtocolError("the client asked another agent", field="agent")
    beacon, drawn = _draw(chain, forward)
    chain.reservations.check_forwarded(signed)
    body = open_body(forward.body, signed.request.body_hash)
    if node not in drawn:
        raise RemoteProtocolError("this peer was not drawn for this request", field="executor")
    return Checked(beacon, drawn, body)


def _draw(chain: Chain, forward: Forward) -> tuple[bytes, tuple[bytes, ...]]:
    """A draw on chain holds until the deadline, so that the next executor can take over however long the one before was
    silent. A draw that is not on chain yet must be young enough for its Start to come in time."""
    signed, height = forward.signed_request, forward.signed_request.request.draw_height
    known = chain.reader.draw_of(signed.inference_id)
    if known is not None:
        if known.agent != forward.agent:
            raise RemoteProtocolError("another agent started this request on chain", field="agent", penalty=0)
        return known.beacon, known.candidates
    draw = chain.reader.draw_for(signed)
    if draw is None:  # an honest agent may be a few blocks ahead
        raise Unavailable(f"this peer does not have height {height} yet; try again", field="draw_height")
    if height + BEACON_MAX_AGE + HEIGHTS_APART < chain.height():
        raise RemoteProtocolError(
            "the draw's beacon is too old; the client must sign a newer height", field="draw_height", penalty=0
        )
    return draw.beacon, draw.executors(signed, forward.agent)
