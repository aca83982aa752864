"""A request names the agent that may start it, because every peer can read requests in gossip; a Start by another agent
is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain
from p2p.base.types import ANY_AGENT, VERSION, Params, RecordKind, Request, SignedRequest, StartRecord
from tests.ledger.lab import CLIENT, Lab


def asked(lab: Lab, agent: bytes, nonce: int) -> SignedRequest:
    body = Request(
        VERSION, lab.network, CLIENT.public, nonce, "toy", bytes(32), Params(), 50, 50, 100, lab.height + 300,
        CLIENT.public, lab.height - 1, agent,
    )
    return SignedRequest(body, CLIENT.sign(Domain.REQUEST, lab.network, encode(body)))


@given(st.integers(0, 2), st.integers(0, 2))
def test_only_the_agent_that_the_client_named_starts_a_request(named: int, other: int) -> None:
    """Otherwise a thief's batch may come first: the agent's own Start is then refused, the client's escrow is held, and
    nothing counts against the thief."""
    lab = Lab()
    lab.block(3)
    signed = asked(lab, lab.nodes[named], 1)
    if other != named:
        before = lab.view.account(CLIENT.public)
        with pytest.raises(RemoteProtocolError) as caught:
            lab.put(lab.nodes[other], RecordKind.START, StartRecord(signed, lab.nodes[other]))
        assert caught.value.field == "agent"
        assert lab.view.account(CLIENT.public) == before
    lab.put(lab.nodes[named], RecordKind.START, StartRecord(signed, lab.nodes[named]))
    assert lab.inference(signed.inference_id).agent == lab.nodes[named]


def test_a_request_that_names_nobody_may_be_started_by_any_and_the_name_is_signed() -> None:
    lab = Lab()
    lab.block(3)
    signed = asked(lab, ANY_AGENT, 1)
    lab.put(lab.nodes[1], RecordKind.START, StartRecord(signed, lab.nodes[1]))
    assert lab.inference(signed.inference_id).agent == lab.nodes[1]
    bound = asked(lab, lab.nodes[0], 2)
    stolen = replace(bound, request=replace(bound.request, agent=lab.nodes[1]))
    assert bound.is_signed()
    assert not stolen.is_signed()
