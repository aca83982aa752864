"""No text of others moves the user's cursor: one function, one stream that all output passes, every command that
prints.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.keys import Key
from p2p.cli import ask as ask_command
from p2p.cli import parsing
from p2p.cli.main import main
from p2p.client.events import Accepted, Busy, Declined, Done, TermsShown, Token, Trying, Waiting
from p2p.machine.foreign_text import Guarded, clean, line
from p2p.machine.status import FailedPart
from p2p.wire.answers.network import EarningRow, EarningsAnswer, EpochSumsRow, OpenDispute, OwnSums
from tests.base.test_network_id import OLD
from tests.cli.receipts import receipt
from tests.wire.statuses import owner_status

HOSTILE = "\x1b[2J\x07\x00\r\x9b31m\x7f\u202e\u2066\ud800 \u0e44\u0e17\u0e22 \u05d0\U0001f468\u200d\U0001f469\n\tend"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
PEER = f"/ip4/127.0.0.1/tcp/1/p2p/{Key(b'9' * 32).peer_id}"


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_nothing_forbidden_is_left_and_nothing_else_is_touched(text: str) -> None:
    shown = clean(text)
    assert not FORBIDDEN.search(shown)
    assert re.sub(FORBIDDEN, lambda found: f"\\u{ord(found[0]):04x}", text) == shown
    if not FORBIDDEN.search(text):
        assert shown == text
    assert not re.search("[\n\t\u2028\u2029]", line(text))


def test_text_in_any_script_stays_as_it_is() -> None:
    for text in ("ไทย", "עברית", "العربية", "👨\u200d👩\u200d👧", "a\nb\tc", "é", "中文"):
        assert clean(text) == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_stream_cleans_whatever_it_is_given(encoding: str) -> None:
    raw = io.BytesIO()
    stream = Guarded(io.TextIOWrapper(raw, encoding=encoding))
    print(HOSTILE, file=stream)  # type: ignore[arg-type]
    stream.writelines([HOSTILE])
    stream.flush()
    assert not FORBIDDEN.search(raw.getvalue().decode(encoding))


# -- every command that prints what a peer said
# ------------------------------------------------------------------------------


def answer_of(op: str) -> dict[str, Any]:
    """As a hostile peer would fill it: every text is HOSTILE."""
    row = EarningRow("00" * 32, "paid", HOSTILE, "VALIDATED", HOSTILE, 1, 1, 0, 1, 0, 0)
    case = OpenDispute("00" * 32, HOSTILE, "APPEALABLE", HOSTILE, 7, False, 1, 1)
    own, sums = (kind(*[0] * len(kind.__struct_fields__)) for kind in (OwnSums, EpochSumsRow))
    page = EarningsAnswer(9, 0, 1, 2, "00" * 32, True, (row,), -1, own, sums, (case,))
    told = owner_status(ml_node=HOSTILE, said=HOSTILE, alone=HOSTILE, failures=(FailedPart(HOSTILE, 1, HOSTILE, True),))
    return {"earnings": to_builtins(page), "status": {**to_builtins(told), HOSTILE: HOSTILE}}.get(op, {
        "node": "00" * 32, HOSTILE: HOSTILE, "text": HOSTILE, "list": [HOSTILE, {"a": HOSTILE}], "map": {"a": HOSTILE},
        "maps": {HOSTILE: {HOSTILE: HOSTILE}},
    })


def own_peer(monkeypatch: pytest.MonkeyPatch, found: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for place in ("p2p.peer.control.call", "p2p.cli.earnings.call"):
        monkeypatch.setattr(place, lambda directory, request: found(request))


async def hostile_error(*arguments: Any) -> dict[str, Any]:
    del arguments
    raise RemoteProtocolError(HOSTILE, field=HOSTILE)


async def hostile_events(*asked: Any) -> Any:
    del asked
    node = bytes(32)
    yield TermsShown(1, 2, 3, 4)
    yield Waiting(1.5, HOSTILE, 3)
    yield Accepted(node, node, 7, node, (node,))
    yield Trying(node, HOSTILE)
    yield Busy(node, HOSTILE)
    yield Declined(node, HOSTILE)
    yield Token(HOSTILE, 1)
    yield Done(receipt(HOSTILE, peer=HOSTILE), HOSTILE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "genesis.cbor").write_bytes(encode(OLD))
    for name in ("account.key", "node.key"):
        Key.generate().save(tmp_path / name)
    return tmp_path


LOCAL = (
    ["status"], ["peers"], ["verification"], ["sprint"], ["block", "3"], ["inference", "00"],
    ["earnings", "--epoch", "0"], ["top", "--once", "--every", "9"],
)
REMOTE = (
    ["governance", "list"], ["account", "transfer", "00" * 32, "1"], ["ask", "hi"], ["account", "show"],
    ["top", "--once"], ["verify-header", "3"], ["prove", "account", "00" * 32],
)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("words", [*LOCAL, *REMOTE], ids=" ".join)
def test_no_command_prints_what_a_peer_must_not_say(
    words: list[str], as_json: bool, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_peer(monkeypatch, lambda request: answer_of(request["op"]))
    monkeypatch.setattr("p2p.client.connection.submit_operation", hostile_error)
    monkeypatch.setattr("p2p.client.ask.ask", hostile_events)

    def asking(directory: Path, address: str | None, network: object, work: Callable[[Any], Any]) -> Any:
        return work(lambda request: answer_of(request["op"]))

    monkeypatch.setattr("p2p.cli.questions.asking", asking)
    argv = [
        *words, "--dir", str(home), *(["--peer", PEER] if words in REMOTE else []), *(["--json"] if as_json else [])
    ]
    main(argv)
    seen = capsys.readouterr()
    assert seen.out or seen.err
    assert not FORBIDDEN.search(seen.out + seen.err)
    assert "Traceback" not in seen.err
    if as_json:
        for text in (seen.out + seen.err).splitlines():
            json.loads(text)


def test_the_answer_itself_is_raw_only_where_that_is_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def events(*asked: Any) -> Any:
        del asked
        yield Token("\x1b[1mbold", 1)
        yield Done(receipt(), "")

    monkeypatch.setattr("p2p.client.ask.ask", events)
    common = ["ask", "hi", "--peer", PEER, "--dir", str(home)]
    assert main(common) == 0
    assert "\\u001b[1mbold" in capsys.readouterr().out
    assert main([*common, "--raw"]) == 0
    assert "\x1b[1mbold" in capsys.readouterr().out


def test_an_error_is_one_line_whatever_a_peer_puts_into_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(options: argparse.Namespace) -> int:
        raise Unavailable("first\nreceipt\n  checked True\x1b[2J", field="a\nb")

    monkeypatch.setattr(ask_command, "run", fails)
    assert main(["ask", "hi", "--peer", PEER]) == 5
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert not FORBIDDEN.search(found)


def test_every_command_goes_through_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def look(options: argparse.Namespace) -> int:
        seen.append(isinstance(sys.stdout, Guarded) and isinstance(sys.stderr, Guarded))
        return 0

    for command in parsing.parser()._subparsers._group_actions[0].choices.values():  # type: ignore[union-attr]
        assert command.get_default("run") or command._subparsers
    monkeypatch.setattr(ask_command, "run", look)
    before = sys.stdout, sys.stderr
    assert main(["ask", "hi", "--peer", PEER]) == 0
    assert seen == [True]
    assert (sys.stdout, sys.stderr) == before
