"""--json has a schema for every command, and what commands print on a real network keeps to it: answers and errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.base.genesis import CheckRules
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.cli.main import main
from p2p.cli.schema_files import FOLDER, file_text, schemas
from p2p.peer.control import call
from testnet.state_file import read_state
from tests.cli.keeps_to import keeps_to
from tests.cli.terminal import Terminal
from tests.cli.test_commands import LEAVES
from tests.held import held
from tests.net_lab import Net, until


def test_the_files_are_as_the_types_make_them() -> None:
    made = {f"{words.replace(' ', '_')}.json": file_text(one) for words, one in schemas().items()}
    kept = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    assert kept == made, "run: python -m p2p.cli.schema_files"


def test_every_command_has_a_schema() -> None:
    missing = LEAVES.keys() - schemas().keys() - {"account balance"}
    assert missing == set(), "add their types to cli/schema_files.py, and run: python -m p2p.cli.schema_files"


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_says_errors_as_json(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--json", "--no-such-option"]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert keeps_to("errors", seen.err)["error"]["code"] == "config"


# -- on a real network -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("json"), window=8, epoch_blocks=30,
        checks=CheckRules(reveal_window=5, appeal_window=0),
    )
    client = made.directory / "client"
    (client / "config.toml").write_text(dump_toml({"bootstrap": [made.address(1)]}))
    if not (client / "node.key").exists():
        Key.generate().save(client / "node.key")
    yield made
    made.close()


Say = Callable[..., Any]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command with --json and holds its answer against the schema."""

    def run(words: str, *more: str, status: int = 0, **options: str) -> Any:
        argv = [*words.split(), *more, "--json", *(x for name, value in options.items() for x in (f"--{name}", value))]
        got = main(argv)
        seen = capsys.readouterr()
        assert got == status, seen.err
        return keeps_to(words, seen.out) if not status else keeps_to("errors", seen.err)

    return run


@pytest.mark.network
def test_answers_of_a_running_peer_keep_to_their_schemas(net: Net, say: Say, tmp_path: Path) -> None:
    until(lambda: net.height(0) >= 4)
    home = str(net.folders[0])
    assert say("status", dir=home)["state"] == "ready"
    assert len(say("peers", dir=home)["peers"]) == 3
    for words in ("verification", "sprint", "ml list"):
        say(words, dir=home)
    say("block", "3", dir=home)
    say("earnings", dir=home, epoch="0")
    assert say("verify-header", "3", dir=home)["trusted"][-1]["height"] == 3
    assert say("prove", "account", net.client(), dir=home)["record"]["balance_micro"] > 0
    assert say("block", "999999", dir=home, status=2)["error"]["code"] == "not_found"
    assert say("ping", net.address(1), "--listen", "/ip4/127.0.0.1/tcp/0")["steps"][0]["state"] == "ok"
    assert say("backup", str(tmp_path / "b"), "--keys", dir=home)["bytes"] > 0
    say("restore", str(tmp_path / "b"), str(tmp_path / "again"))
    seen = say("top", "--once", dir=home)[0]
    assert seen["balance_micro"] is not None
    assert seen["blocks"][0]["height"] >= 4
    assert seen["earnings"]["own"]
    other = say("top", "--once", dir=home, peer=net.address(1))[0]
    assert other["peers"] == []
    assert "owner" in other["missing"]["engine"]


@pytest.mark.network
def test_a_client_that_names_no_peer_finds_one(
    net: Net, say: Say, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:
    """From its settings; what is piped in follows the question; a session goes on."""
    home = net.directory / "client"
    piped(monkeypatch, b"the rest")
    options = {"dir": str(home), "max-tokens": "4", "session": "trip"}
    lines = say("ask", "the beginning", **options)
    assert lines[-1]["event"] == "done"
    assert lines[-1]["receipt"]["checked"]
    kept = json.loads((home / "sessions" / "trip.json").read_text())
    assert kept["messages"][0]["content"] == "the beginning\n\nthe rest"
    assert (home / "sessions" / "trip.json").stat().st_mode & 0o777 == 0o600
    piped(monkeypatch, b"only this")
    again = say("ask", **options)
    after = json.loads((home / "sessions" / "trip.json").read_text())
    assert [one["role"] for one in after["messages"]] == ["user", "assistant"] * 2
    assert after["draw"]["id"] == kept["draw"]["id"], "one draw for both turns"
    assert again[-1]["receipt"]["executor"] == lines[-1]["receipt"]["executor"]

    until(lambda: say("account show", dir=str(home))["held"]["account"] == net.client())
    inference_id = again[-1]["receipt"]["inference_id"]
    until(lambda: call(net.folders[0], {"op": "inference", "id": inference_id})["finish_height"])
    say("inference", inference_id, dir=str(net.folders[0]))

    typed = ["hello", "/cost", "/model", "/nonsense", f"/save {tmp_path}/talk.md", f"/prove {tmp_path}/p", "/quit"]
    piped(monkeypatch, "".join(f"{one}\n" for one in typed).encode())
    status = main(["chat", "--json", "--dir", str(home), "--max-tokens", "4"])
    seen = capsys.readouterr()
    told = keeps_to("chat", seen.out)
    assert status == 2, "of the command that there is not"
    events = [one["event"] for one in told if one["event"] != "verdict"]  # which comes when it comes
    assert events[-4:] == ["models", "error", "saved", "proof"]
    assert {"terms", "accepted", "token", "done", "cost"} <= set(events)
    assert (tmp_path / "talk.md").read_text().startswith(f"# {kept['model']}")
    assert (tmp_path / "p").exists()


def piped(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    """Standard input is a pipe with `raw`."""
    reading, writing = os.pipe()
    os.write(writing, raw)
    os.close(writing)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(reading, "rb", buffering=0), encoding="utf-8"))


@pytest.mark.network
def test_account_transactions_and_governance(net: Net, say: Say) -> None:
    home, peer = str(net.directory / "client"), net.address(1)
    assert say("account transfer", "07" * 32, "0.000005cr", dir=home)["state"] == "done", "a peer is found"
    taken = say("account cap", "0", "9cr", "--no-wait", dir=home, peer=peer)
    assert taken["nonce"] > 0
    say("governance list", dir=home, peer=peer)
    assert say("account transfer", "zz", "5", dir=home, peer=peer, status=2)["error"]["field"] == "to"
    until(lambda: say("account show", dir=home)["request_cap_micro"] == 9_000_000)
    shown = say("account show", dir=home, account="07" * 32)
    assert shown["balance_micro"] == 5
    assert shown["held"]["escrows"] == []


@pytest.mark.network
def test_peers_and_gateways_print_a_line_for_each_event(net: Net, tmp_path: Path) -> None:
    shutil.copy(net.directory / "client" / "genesis.cbor", tmp_path / "genesis.cbor")
    assert main(["init", str(tmp_path / "peer"), "--genesis", str(tmp_path / "genesis.cbor")]) == 0
    first_line("serve", ["--dir", str(tmp_path / "peer"), "--listen", "/ip4/127.0.0.1/tcp/0"])
    client = str(net.directory / "client")
    told = first_line("gateway", ["--dir", client, "--listen", "127.0.0.1:0", "--peer", net.address(1)])
    assert told["url"].startswith("http://127.0.0.1:")
    shown = first_line("explorer", ["--dir", client, "--listen", "127.0.0.1:0", "--peer", net.address(1)])
    assert shown["url"].endswith("/explorer/")


def first_line(words: str, options: list[str]) -> Any:
    """The first line of a command that goes on; it is ended then."""
    with held([sys.executable, "-m", "p2p", words, "--json", *options], quiet=True) as started:
        assert started.stdout is not None
        try:
            return keeps_to(words, started.stdout.readline())[0]
        finally:
            started.send_signal(signal.SIGTERM)
            started.communicate(timeout=60)


@contextlib.contextmanager
def stopped_engine(net: Net) -> Iterator[None]:
    """No token comes meanwhile."""
    pid = read_state(net.directory)["processes"]["ml"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.network
def test_a_chat_on_a_terminal(net: Net) -> None:
    """Ctrl-C stops an answer and not the program; turn 2 is of the same session; Ctrl-D leaves."""
    home = net.directory / "client"
    talk = Terminal(["chat", "--dir", str(home), "--max-tokens", "1500", "--session", "tty"])
    try:
        talk.until(b"Ctrl-D leaves")
        with stopped_engine(net):
            talk.type(b"a long story\n")
            talk.until(b"at most")  # it is asked
            talk.type(b"\x03")
            talk.until(b"stopped before anything was answered")
        talk.until(b"\r\n> ")
        talk.type(b"/hel\t\n")
        talk.until(b"\r\n> ")
        talk.type(b"and then?\n")
        talk.until(b"answered by")
        talk.until(b"\r\n> ")
        talk.type(b"\x03")
        talk.until(b"\r\n> ")
        talk.type(b"\x04")
        assert talk.end() == 0
    finally:
        talk.close()
    kept = json.loads((home / "sessions" / "tty.json").read_text())
    assert [one["content"] for one in kept["messages"] if one["role"] == "user"] == ["and then?"]
    assert (home / "chat-history").read_text().splitlines()[-1] == "and then?"
    assert (home / "chat-history").stat().st_mode & 0o777 == 0o600


# -- without a network -------------------------------------------------------------------------------------------------


def test_commands_that_need_no_network(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    say("init", str(tmp_path / "peer"), network="n")
    assert say("ml list", dir=str(tmp_path / "peer"))["ml_nodes"] == []
    assert say("config check", dir=str(tmp_path / "peer"))["ok"]
    assert say("config show", dir=str(tmp_path / "peer"))["network"] == "n"
    assert "ExecStart" in say("service show", dir=str(tmp_path / "peer"))["unit"]
    where = ("--url", "http://127.0.0.1:1", "--tokenizer", str(tmp_path / "t.json"))
    (tmp_path / "t.json").write_text("{}")
    added = say("ml add", "gpu1", "--model", "m", *where, dir=str(tmp_path / "peer"))
    assert [one["name"] for one in added["ml_nodes"]] == ["gpu1"]
    assert say("ml remove", "gpu1", dir=str(tmp_path / "peer"))["ml_nodes"] == []
    assert len(say("testnet write", "smoke-4", dir=str(tmp_path / "out"))["written"]) == 2
    assert say("key show", str(tmp_path / "peer" / "node.key"))["locked"] is False
    say("help", "money")
    say("completion", "bash")
    say("attack", "--list")
    say("testnet ls")
    assert "[" in say("testnet generate", seed="7")["manifest"]
    assert say("testnet down", dir=str(tmp_path))["stopped"] == []
    told = say("debug bundle", dir=str(tmp_path / "peer"), out=str(tmp_path / "b.tar.gz"))
    assert Path(told["file"]).stat().st_size == told["bytes"]
    with contextlib.suppress(SystemExit):
        main(["--version"])


def test_commands_whose_work_is_long_print_what_their_types_say(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commands are real; the work behind them, which has tests of its own, is not done."""
    from p2p.verification import profile
    from testnet.up import Running

    (tmp_path / "config.json").write_text("{}")
    running = Running(tmp_path, [tmp_path / "peer1"], "/ip4/127.0.0.1/tcp/1/p2p/x", {})
    monkeypatch.setattr("testnet.up.bring_up", lambda *given, **options: print("busy") or running)
    monkeypatch.setattr("testnet.demo.demo", lambda *given, **options: print("busy") or 0)
    assert say("testnet up", dir=str(tmp_path))["peers"] == [str(tmp_path / "peer1")]
    say("testnet demo", dir=str(tmp_path))

    async def nothing(self: object) -> None: ...

    monkeypatch.setattr("p2p.lab.measure.collect.Collector.all", nothing)
    monkeypatch.setattr("p2p.lab.measure.bench.prepare", lambda *given, **options: None)
    shipped = profile.shipped("SmolLM2-135M-Instruct")
    monkeypatch.setattr("p2p.lab.measure.profiles.make", lambda *given, **options: shipped)
    monkeypatch.setattr("p2p.inference.stack.model.weights_hash", lambda folder: bytes(32))
    say("calibrate", str(tmp_path), work=str(tmp_path / "work"), out=str(tmp_path / "profile.json"))
