"""What a user may type, and what a peer may answer.

The user gets one sentence with the option and the range, and an exit status: no traceback, no type of Python.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError, Overloaded, RemoteProtocolError, StorageError, Unavailable
from p2p.base.keys import Key
from p2p.cli import parsing
from p2p.cli.main import BUG, NOBODY_READS, main
from p2p.client.events import Done
from p2p.client.question import Question
from tests.base.test_network_id import OLD
from tests.cli.receipts import receipt

PEER = f"/ip4/127.0.0.1/tcp/1/p2p/{Key(b'9' * 32).peer_id}"
ODD_NUMBERS = (
    "", "-1", "x", "1e3", "1.5", "\u00b2", "\u0661", "nan", "inf", "9" * 5000, str(2**64), "0x10", " 5", "1_000",
)
ODD_FRACTIONS = (
    "", "x", "nan", "inf", "-inf", "1e-6", "0.9996", "1e400", "\u00b2", "9" * 5000, "3", "-3", "1,5", "1_0",
)
ASK = ["ask", "hi", "--peer", PEER]
NUMBERS: tuple[tuple[list[str], str], ...] = (
    ([*ASK, "--max-tokens"], "max_tokens"), ([*ASK, "--top-k"], "top_k"), ([*ASK, "--max-price"], "max_price"),
    (["block"], "height"),
    (["verify-header"], "height"), (["earnings", "--epoch"], "epoch"), (["account", "transfer", "00" * 32], "amount"),
    (["account", "deposit"], "amount"), (["account", "withdraw"], "amount"), (["account", "cap", "1"], "request_cap"),
    (["account", "delegate", "00" * 32, "1", "1"], "expires"),
    (["account", "register", "--price-floor"], "price_floor"),
    (["serve", "--dir", "x", "--engine-threads"], "engine_threads"),
    (["serve", "--dir", "x", "--tensor-parallel"], "tensor_parallel"),
    (["serve", "--dir", "x", "--pipeline-parallel"], "pipeline_parallel"), (["attack", "--tokens"], "tokens"),
    (["attack", "--top-k"], "top_k"),
    (["calibrate", "x", "--prompts"], "prompts"), (["simulate", "economy", "--seed"], "seed"),
    (["simulate", "economy", "--jobs"], "jobs"),
    (["testnet", "up", "--peers"], "peers"), (["testnet", "up", "--ml-nodes"], "ml_nodes"),
)
FRACTIONS: tuple[tuple[list[str], str], ...] = (
    ([*ASK, "--temperature"], "temperature"), ([*ASK, "--top-p"], "top_p"), ([*ASK, "--min-p"], "min_p"),
    ([*ASK, "--presence-penalty"], "presence_penalty"), ([*ASK, "--frequency-penalty"], "frequency_penalty"),
    (["attack", "--temperature"], "temperature"), (["attack", "--top-p"], "top_p"),
)
SPANS: tuple[tuple[list[str], str], ...] = (
    (["verify-header", "3", "--period-days"], "period_days"), (["prove", "--period-days"], "period_days"),
    (["prove", "--wait"], "wait"),
    (["account", "cap", "1", "1", "--peer", PEER, "--timeout"], "timeout"),
)


@pytest.fixture(scope="module", autouse=True)
def one_parser() -> Iterator[None]:
    """Built once: it is most of what a refused word costs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parsing, "parser", functools.cache(parsing.parser))
        yield


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(argv)
    seen = capsys.readouterr()
    assert "Traceback" not in seen.err + seen.out
    assert status != BUG, seen.err
    return status, seen.err


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The error, which is the same sentence for people."""
    status, plain = said(argv, capsys)
    assert status == 2, plain
    status, machine = said([*argv, "--json"], capsys)
    error: dict[str, Any] = json.loads(machine)["error"]
    assert plain == f"error: {error['field']}: {error['message']}\n"
    assert not any(
        word in plain for word in ("int value", "<function", "Struct", "msgspec", "invalid read", "argparse")
    )
    return error


@pytest.mark.parametrize("value", ODD_NUMBERS, ids=lambda value: value[:12] or "empty")
@pytest.mark.parametrize(("words", "field"), NUMBERS, ids=lambda word: word if isinstance(word, str) else "")
def test_a_number_that_is_none_is_named_with_its_range(
    words: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [*words[:-1], f"{words[-1]}={value}"] if words[-1].startswith("--") else [*words, "--", value]
    error = refused_flexible(argv, capsys)
    assert error["field"] == field
    assert "whole number from" in error["message"]


def refused_flexible(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """--json stands before the words of a command that end with `--`."""
    status, plain = said(argv, capsys)
    assert status == 2, plain
    at = argv.index("--") if "--" in argv else len(argv)
    status, machine = said([*argv[:at], "--json", *argv[at:]], capsys)
    error: dict[str, Any] = json.loads(machine)["error"]
    assert error["message"] in plain
    assert "invalid" not in plain
    return error


@pytest.mark.parametrize("value", ODD_FRACTIONS, ids=lambda value: value[:12] or "empty")
@pytest.mark.parametrize(("words", "field"), FRACTIONS, ids=lambda word: word if isinstance(word, str) else "")
def test_a_fraction_that_would_be_rounded_is_refused(
    words: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused([*words[:-1], f"{words[-1]}={value}"], capsys)
    assert error["field"] == field


@pytest.mark.parametrize(
    "value", ["", "x", "nan", "inf", "-inf", "-1", "1e400", "\u00b2"], ids=lambda value: value or "empty",
)
@pytest.mark.parametrize(("words", "field"), SPANS, ids=lambda word: word if isinstance(word, str) else "")
def test_a_span_is_a_finite_number(
    words: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused([*words[:-1], f"{words[-1]}={value}"], capsys)
    assert error["field"] == field
    assert "number from" in error["message"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "genesis.cbor").write_bytes(encode(OLD))
    for name in ("account.key", "node.key"):
        Key.generate().save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("words", "field"), [
    (["ask", "\udcff", "--peer", PEER], "prompt"), (["ask", "hi", "--peer", PEER, "--model", "\udcff"], "model"),
    (["ask", "hi", "--peer", PEER, "--account", ""], "account"),
    (["ask", "hi", "--peer", PEER, "--account", "zz"], "account"),
    (["ask", "hi", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/0OIl"], "peer"),
    (["ask", "hi", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/"], "peer"),
    (["ask", "hi", "--peer", ""], "peer"), (["account", "show", "--peer", "/p2p/x"], "peer"),
    (["account", "show", "--account", ""], "account"),
    (["account", "register", "--peer", PEER, "--metadata", "\udcff"], "metadata"),
    (["account", "register", "--peer", PEER, "--model", "\udcff"], "model"),
    (["verify-header", "3", "--peer", "nowhere"], "peer"),
    (["governance", "propose", "--checks", "plant_every=\u00b2", "--peer", PEER], "plant_every"),
    (["governance", "vote", "zz", "yes", "--peer", PEER], "proposal"),
    (["earnings", "--epoch", "0", "--node", ""], "node"),
])
def test_a_word_that_is_wrong_is_named(
    words: list[str], field: str, home: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused([*words, "--dir", str(home)], capsys)["field"] == field


@pytest.mark.parametrize("trusted", [
    "\u00b2:" + "00" * 32, "3:zz" + "00" * 31, "3", ":", "-3:" + "00" * 32, "9" * 5000 + ":" + "00" * 32,
    "3:" + "\u0661" * 64,
])
def test_a_trusted_header_is_digits(
    trusted: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.peer.control.call", lambda directory, request: {})
    assert refused(["verify-header", "3", f"--trusted={trusted}", "--dir", str(home)], capsys)["field"] == "trusted"


@pytest.mark.parametrize("words", [["--help"], ["ask", "--help"], ["account", "show", "--help"], ["prove", "--help"]])
def test_help_needs_no_home(words: list[str]) -> None:
    """In a container of an unknown user."""
    code = (
        "import os, pwd, sys\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        "os.environ.pop('HOME', None)\n"
        "from p2p.cli.main import main\n"
        f"main({words!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage" in done.stdout


# -- what a peer may answer
# --------------------------------------------------------------------------------------------------

ODD_ANSWERS: tuple[Any, ...] = (
    {}, {"height": "3"}, {"height": -1, "light": "zz"}, {"height": 3, "light": "00"},
    {"height": 2**64, "value": [], "proof": None, "left": 7},
    {"height": 3, "value": None, "proof": "00", "left": None}, {"account": "00" * 32, "balance_micro": "7"},
    {"next": 10**9, "inferences": []},
    {"next": 1, "inferences": [[]], "sums": {}}, {"sums": {"fees_micro": "x"}, "next": 0, "inferences": []},
    {"payload": 7},
    {"next": [], "inferences": 3},
    {"payload": "00", "request": "00", "finish": "00", "beacon": "00" * 32, "candidates": []},
    {"a": {"b": [{"c": {}}] * 3}},
)


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=lambda answer: ",".join(answer) or "empty")
@pytest.mark.parametrize("words", [
    ["status"], ["inference", "00"], ["earnings", "--epoch", "0", "--node", "00" * 32], ["account", "show"],
    ["verify-header", "3"],
    ["prove", "account", "00" * 32, "--wait", "0"], ["verify", "00" * 32, "--model", "."],
], ids=lambda words: words[0])
def test_an_odd_answer_is_one_sentence(
    words: list[str], answer: Any, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("p2p.peer.control.call", "p2p.cli.earnings.call"):
        monkeypatch.setattr(place, lambda directory, request: answer)
    status, text = said([*words, "--dir", str(home)], capsys)
    assert text.count("\n") == (status != 0)
    assert status in (0, 2, 3)


# -- money before files
# --------------------------------------------------------------------------------------------------------


def test_where_the_proof_goes_is_tried_before_anything_is_signed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Question] = []

    async def events(to: object, question: Question, payer: object) -> Any:
        asked.append(question)
        yield Done(receipt(), "")

    monkeypatch.setattr("p2p.client.ask.ask", events)
    (home / "folder").mkdir()
    for place in ("/nonexistent/p", "", str(home / "folder"), str(home / "account.key" / "p"), "x" * 300):
        assert refused([*ASK, "--dir", str(home), "--save", place], capsys)["field"] == "save"
    assert not asked
    kept = home / "kept"
    kept.write_bytes(b"before")
    assert said([*ASK, "--dir", str(home), "--save", str(kept)], capsys)[0] == 0
    assert said([*ASK, "--dir", str(home), "--save", str(home / "new")], capsys)[0] == 0
    assert kept.read_bytes() == b"before", "an answer that does not come costs no file"
    assert not (home / "new").exists()


def test_a_proof_is_not_asked_for_where_it_cannot_be_kept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(
        ["prove", "account", "00" * 32, "--dir", str(home), "--out", "/nonexistent/p"], capsys,
    )["field"] == "out"


# -- the end of a command
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [
    ConfigError("x", field="f"), RemoteProtocolError("x", field="f"), Overloaded("x", field="f"), Unavailable("x"),
    StorageError("x"),
    FolkmootError("x"),
])
def test_every_typed_error_ends_with_its_code(
    error: FolkmootError, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def events(*asked: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise error
        yield

    monkeypatch.setattr("p2p.client.ask.ask", events)
    status, text = said([*ASK, "--dir", str(home)], capsys)
    assert status == error.exit_status
    assert text.count("\n") == 1


def test_what_is_no_typed_error_is_a_sentence_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    async def events(*asked: Any) -> Any:
        raise RecursionError("\x1b[2Jdeep")
        yield

    monkeypatch.setattr("p2p.client.ask.ask", events)
    assert main([*ASK, "--dir", str(home)]) == BUG
    found = capsys.readouterr().err
    assert "RecursionError" in found
    assert "Traceback" not in found
    assert "\x1b" not in found


def test_nobody_reads_on(home: Path) -> None:
    """`ask ... | head -c 3`: the end is quiet, and the answer's generator is closed where it was opened."""
    code = (
        "import sys, trio\n"
        "from contextlib import asynccontextmanager\n"
        "from p2p.client import ask as client\n"
        "from p2p.client.events import Token\n"
        "@asynccontextmanager\n"
        "async def open_to(peer, network):\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        nursery.start_soon(trio.sleep_forever)\n"
        "        yield None\n"
        "        nursery.cancel_scope.cancel()\n"
        "async def events(*asked, **_):\n"
        "    for _ in range(100_000):\n"
        "        await trio.lowlevel.checkpoint()\n"
        "        yield Token('word ', 1)\n"
        "client.open_to, client.ask_over = open_to, events\n"
        "from p2p.cli.main import main\n"
        f"sys.exit(main({[*ASK, '--dir', str(home)]!r}))\n"
    )
    reading, writing = os.pipe()
    started = subprocess.Popen([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert os.read(reading, 3)
    os.close(reading)
    _, found = started.communicate(timeout=120)
    assert (started.returncode, found) == (NOBODY_READS, "")
