"""Completion in the shells themselves, where they are installed: bash is, zsh and fish may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.base.codec import encode
from p2p.cli.completion import SCRIPTS, candidates
from tests.base.test_network_id import OLD

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a command `folkmoot` that runs this source."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "folkmoot"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m p2p "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "dumb"}


def output(argv: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.split("\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_actions_and_models(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "genesis.cbor").write_bytes(encode(OLD))
    model = OLD.models[0].model
    ask = f"folkmoot ask --dir {tmp_path} --model"
    script = (
        'eval "$(folkmoot completion bash)"\n'
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _folkmoot; echo "${COMPREPLY[*]}"; }\n'
        f'compopt() {{ :; }}\ntry folkmoot govern\ntry folkmoot account tra\ntry {ask} ""\n'
    )
    assert output(["bash", "-c", script], environment)[:3] == ["governance", "transfer", model]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(environment: dict[str, str]) -> None:
    script = 'folkmoot completion fish | source; complete -C "folkmoot account tra"; complete -C "folkmoot govern"'
    lines = output(["fish", "--no-config", "-c", script], environment)
    assert [line.split("\t")[0] for line in lines[:2]] == ["transfer", "governance"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(environment: dict[str, str]) -> None:
    """`_describe` is replaced by one that prints: the real one draws on a terminal."""
    script = (
        'compdef() { :; }; _files() { echo files; }\n_describe() { print -l -- ${(P)2}; }\n'
        'eval "$(folkmoot completion zsh)"\n'
        'words=(folkmoot account tra); CURRENT=3; _folkmoot\nwords=(folkmoot govern); CURRENT=2; _folkmoot\n'
    )
    lines = output(["zsh", "-f", "-c", script], environment)
    assert [line.split(":")[0] for line in lines[:2]] == ["transfer", "governance"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_script_asks_the_program(shell: str) -> None:
    assert "folkmoot completion words" in SCRIPTS[shell]


def test_what_may_come_next_depends_on_what_came(tmp_path: Path) -> None:
    def words(*before: str) -> list[str]:
        return [word for word, _ in candidates(before)]

    assert "status" in words("")
    assert words("stat") == ["status"]
    assert words("nothing", "") == []
    assert "--peer" in words("account", "transfer", "--")
    assert words("serve", "--engine", "") == ["vllm", "torch"]
    assert words("governance", "vote", "0" * 64, "") == ["yes", "no"]
    assert words("governance", "vote", "--dir", "x", "0" * 64, "y") == ["yes"]
    assert words("help", "json", "account", "sh") == ["show"]
    assert "example" not in words("join", ""), "it only shows how a file looks"
    assert "smoke-4" in words("testnet", "run", "")
    assert "money" in words("help", "")
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "trip.json").write_text("{}")
    assert words("chat", f"--dir={tmp_path}", "--session", "") == ["trip"]
    (tmp_path / "config.toml").write_text('bootstrap = ["/ip4/1.2.3.4/tcp/1/p2p/x"]')
    assert words("ask", "--dir", str(tmp_path), "--peer", "") == ["/ip4/1.2.3.4/tcp/1/p2p/x"]
