"""Commands as a user types them: exit statuses, one clear line, JSON, and nothing imported that is not needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.base.errors import StorageError
from p2p.cli.commands import COMMANDS
from tests import warm

HEAVY = ("libp2p", "torch", "vllm", "trio", "numpy")
FOLKMOOT = (sys.executable, "-m", "p2p")
MIDDLING = ("msgspec", "structlog", "rich", "asyncio", "nacl", "httpx")


def folkmoot(*argv: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "p2p", *argv], 60)


@pytest.mark.parametrize(("argv", "status", "field"), [
    (["status", "--dir", "/nonexistent"], 5, "dir"),
    (["peers", "--dir", "/nonexistent"], 5, "dir"),
    (["block", "3", "--dir", "/nonexistent"], 5, "dir"),
    (["inference", "00", "--dir", "/nonexistent"], 5, "dir"),
    (["earnings", "--epoch", "0", "--dir", "/nonexistent"], 5, "dir"),
    (["earnings", "--epoch", "-1", "--dir", "/nonexistent"], 2, "epoch"),
    (["serve", "--dir", "/nonexistent"], 2, "dir"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1", "hi"], 2, "peer"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/x", "--dir", "/nonexistent", "hi"], 2, "dir"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/x", "--temperature", "2.1", "hi"], 2, "temperature"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/x", "--top-p", "0.9", "hi"], 2, "top_p"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/x", "--top-k", "-1", "hi"], 2, "top_k"),
    (["ask", "--peer", "/ip4/1.2.3.4/tcp/1/p2p/x", "--presence-penalty", "nan", "hi"], 2, "presence_penalty"),
    (["testnet", "up", "--peers", "0"], 2, "peers"),
])
def test_failures_are_one_line_with_a_field_and_a_status(argv: list[str], status: int, field: str) -> None:
    plain, machine = folkmoot(*argv), folkmoot(*argv, "--json")
    assert (plain.returncode, machine.returncode) == (status, status)
    assert plain.stderr.startswith(f"error: {field}: ")
    assert len(plain.stderr.strip().splitlines()) == 1
    assert json.loads(machine.stderr)["error"]["field"] == field


def test_init_makes_keys_once(tmp_path: Path) -> None:
    made = folkmoot("init", str(tmp_path / "peer"), "--network", "n", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["peer_id"].startswith("12D3Koo")
    key = (tmp_path / "peer" / "node.key").read_text()
    assert (tmp_path / "peer" / "node.key").stat().st_mode & 0o777 == 0o600
    again = folkmoot("init", str(tmp_path / "peer"))
    assert again.returncode == 2
    assert "never overwritten" in again.stderr
    assert (tmp_path / "peer" / "node.key").read_text() == key


@pytest.mark.parametrize(("line", "field"), [
    ('network = "a b"', "network"), ('network = "n"\nlisten = ["x"]', "listen"),
    ('network = "n"\nbootstrap = ["/ip4/1.2.3.4/tcp/1"]', "bootstrap"),
    ('network = "n"\nml_node = "ftp://x"', "ml_node"), ('network = "n"\nmodel_path = "/nonexistent"', "model_path"),
    ('network = "n"\nexpected_size = 0', "expected_size"), ('network = "n"\naccount_tokens = 0', "account_tokens"),
    ('network = "n"\ncolour = "red"', "colour"), ("network", "config"),
    ('network = "n"\nkeep_records = "some"', "keep_records"),
])
def test_a_bad_configuration_names_its_field(tmp_path: Path, line: str, field: str) -> None:
    (tmp_path / "config.toml").write_text(line)
    done = folkmoot("serve", "--dir", str(tmp_path), "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["field"] == field


@pytest.mark.parametrize("argv", [
    ["status", "--dir", "/nonexistent"], ["testnet", "down", "--dir", "{tmp}"], ["init", "{tmp}/a"],
    ["account", "show", "--dir", "{tmp}"],
])
def test_light_commands_import_nothing_heavy(argv: list[str], tmp_path: Path) -> None:
    assert loaded([word.format(tmp=tmp_path) for word in argv]) & set(HEAVY) == set()


@pytest.mark.parametrize("argv", [
    ["--help"], ["help", "money"], ["help", "json", "ask"], ["status", "--dir", "/nonexistent"],
    ["account", "show", "--help"], ["completion", "words", "account", "tr"], ["completion", "bash"],
    ["testnet", "--help"], ["block", "1", "--dir", "/nonexistent"],
])
def test_the_lightest_commands_load_the_standard_library_and_little_of_ours(argv: list[str]) -> None:
    found = loaded(argv)
    assert found & {*HEAVY, *MIDDLING} == set()
    ours = {name for name in found if name.startswith("p2p.")}
    assert not any(name.startswith(("p2p.ledger", "p2p.client", "p2p.wire", "p2p.gateway")) for name in ours)
    commands = {name for name in ours if name.startswith("p2p.cli.")}
    own = {row.module for row in COMMANDS if row.name in argv}
    assert not commands & {f"p2p.cli.{row.module}" for row in COMMANDS if row.module not in own}


def loaded(argv: list[str]) -> set[str]:
    """The modules that are there when the command has ended."""
    code = (
        "import json, sys\nfrom p2p.cli.main import main\n"
        f"try: main({argv!r})\nexcept SystemExit: pass\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["help"], ["--version"], ["config", "show"], ["completion", "bash"]])
def test_output_that_has_no_room_is_one_sentence(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('network = "n"\n')
    more = ["--dir", str(tmp_path)] if words[0] == "config" else []
    with open("/dev/full", "w") as full:
        done = subprocess.run([*FOLKMOOT, *words, *more], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == StorageError.exit_status
    said = "error: cannot write the output: No space left on device; make room there, or write elsewhere"
    assert done.stderr.splitlines() == [said]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(closed: str) -> None:
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *FOLKMOOT, "help"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
