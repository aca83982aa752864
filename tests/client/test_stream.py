"""Tokens count when the executor that was asked has signed them, and log-probabilities when they are the artifact's."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Key
from p2p.base.types import FinishReason
from p2p.client import events
from p2p.client.events import Event, Token
from p2p.client.repeat import Repeat
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Accepted, Declined, Trying
from tests.client.one_answer import AGENT, EXECUTOR, NETWORK, SIGNED, finished, followed, frame, step

OTHER = Key(b"\x51" * 32)
BEGIN = [Accepted(SIGNED.inference_id, AGENT.public, bytes(32), (EXECUTOR.public, OTHER.public)),
         Trying(EXECUTOR.public)]
NEXT = [Declined(EXECUTOR.public, "died", None), Trying(OTHER.public)]
ROWS = "the log-probabilities that were shown are not those of the artifact"


def tokens(found: list[Event]) -> list[Token]:
    return [event for event in found if isinstance(event, Token)]


def problems(found: list[Event]) -> tuple[str, ...]:
    assert isinstance(found[-1], events.Done)
    return found[-1].receipt.problems


async def test_each_token_of_a_frame_that_many_share_is_an_event() -> None:
    found = await followed([*BEGIN, frame([7, 8], "ab"), finished([7, 8], "ab")])
    assert tokens(found) == [Token("ab", 7), Token("", 8)]


@pytest.mark.parametrize("wrong", [
    frame([7], "a", key=OTHER), frame([7], "a", inference_id=bytes(32)), frame([7], "a", first=1),
    replace(frame([7], "a"), tokens=(8,)), replace(frame([7], "a"), signature=bytes(64)),
], ids=["by another", "of another request", "as if it had begun later", "for another token", "by nobody"])
async def test_tokens_that_their_executor_did_not_sign_end_the_answer(wrong: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        await followed([*BEGIN, wrong])
    assert caught.value.field == "signature"


async def test_an_executor_that_takes_over_signs_from_its_own_first_token_on() -> None:
    one = frame([7], "a")
    taken = sign_streamed(EXECUTOR, NETWORK, SIGNED.inference_id, 0, 1, chain_after(SIGNED.inference_id, [7]))
    done = finished([7, 8], "ab", key=OTHER, taken=(taken,))
    found = await followed([*BEGIN, one, *NEXT, frame([8], "b", before=[7], first=1, key=OTHER), done])
    assert [token.token for token in tokens(found)] == [7, 8]
    for wrong in (frame([8], "b", before=[7], first=0, key=OTHER), frame([8], "b", before=[7])):
        with pytest.raises(RemoteProtocolError) as caught:
            await followed([*BEGIN, one, *NEXT, wrong])
        assert caught.value.field == "signature"


# -- log-probabilities -------------------------------------------------------------------------------------------------


async def test_log_probabilities_come_with_their_tokens() -> None:
    sent = [*BEGIN, frame([7, 8], "ab", rows=True), finished([7, 8], "ab")]
    found = await followed(sent, rows=True)
    assert [token.row and token.row.token for token in tokens(found)] == [7, 8]
    row = tokens(found)[0].row
    assert row is not None
    assert row.top[0] == (7, pytest.approx(step(7).logprob, abs=1 / 16))
    assert ROWS not in problems(found)
    assert {token.row for token in tokens(await followed(sent))} == {None}, "they were not asked for"


@pytest.mark.parametrize("rows", [
    b"", frame([7], "a", rows=True).rows, frame([8, 7], "ab", rows=True).rows, b"\xff" * 63,
    frame([7, 8, 9], "abc", rows=True).rows,
], ids=["missing", "too few", "of other tokens", "half a row", "too many"])
async def test_log_probabilities_of_other_tokens_end_the_answer(rows: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        await followed([*BEGIN, replace(frame([7, 8], "ab"), rows=rows)], rows=True)
    assert caught.value.field == "rows"


async def test_log_probabilities_that_the_artifact_has_not_are_a_problem() -> None:
    sent = [*BEGIN, frame([7, 8], "ab", rows=True), finished([7, 8], "ab", logprob=-1.5)]
    assert ROWS in problems(await followed(sent, rows=True))
    assert ROWS not in problems(await followed(sent))


async def test_numbers_of_tokens_that_were_taken_over_are_the_last_executors() -> None:
    """It computed them again, in its prefill; so they may differ a little from those that were shown."""
    taken = sign_streamed(EXECUTOR, NETWORK, SIGNED.inference_id, 0, 1, chain_after(SIGNED.inference_id, [7]))
    done = finished([7, 8], "ab", key=OTHER, taken=(taken,), logprob=-0.1)
    one = frame([7], "a", rows=True)
    differing = replace(one, rows=b"".join((one.rows[:3], b"\x02", one.rows[4:])))
    second = frame([8], "b", before=[7], first=1, key=OTHER, rows=True)
    assert ROWS not in problems(await followed([*BEGIN, differing, *NEXT, second, done], rows=True))


# -- how it ends -------------------------------------------------------------------------------------------------------


async def test_an_end_at_a_stop_string_needs_one() -> None:
    found = await followed([*BEGIN, frame([7], "a"), finished([7], "a", FinishReason.STOP_STRING)])
    assert "the answer is said to end at a stop string, and has none" in problems(found)


# -- what comes a second time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [[[7, 8, 9]], [[7], [8, 9]], [[7], [8], [9]], [[7, 8], [9]]])
async def test_what_was_shown_before_is_not_shown_again(cut: list[list[int]]) -> None:
    text, sent, before = {7: "a", 8: "bc", 9: "d"}, [], []
    for part in cut:
        sent.append(frame(part, "".join(text[token] for token in part), before=before))
        before = [*before, *part]
    found = await followed([*BEGIN, *sent, finished([7, 8, 9], "abcd")], repeat=Repeat((7, 8), "abc"))
    assert tokens(found) == [Token("d", 9)]


@pytest.mark.parametrize(("again", "text"), [([6, 8], "abc"), ([7, 9], "abc"), ([7, 8], "abd"), ([7, 8], "abcd")])
async def test_an_answer_that_goes_on_otherwise_than_it_was_is_refused(again: list[int], text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        await followed([*BEGIN, frame(again, text)], repeat=Repeat((7, 8), "abc"))
    assert caught.value.field == "tokens"
