"""Where a command finds peers where none is named, and what is piped into it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, InvalidRequest, Unavailable
from p2p.base.toml_file import dump_toml
from p2p.cli.finding import peers_for
from p2p.cli.questions import asking_any
from p2p.cli.standard_input import piped
from p2p.client.network_file import dump_network
from p2p.client.settings import BOOK
from tests.base.test_network_id import OLD

A, B, C = (f"/ip4/127.0.0.1/tcp/{port}/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN" for port in (1, 2, 3))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "genesis.cbor").write_bytes(encode(OLD))
    return tmp_path


def test_the_peer_of_the_folder_comes_first_then_the_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text(dump_toml({"bootstrap": [B]}))
    assert peers_for(home, None) == (OLD, (B,))
    monkeypatch.setattr("p2p.peer.control.call", lambda folder, asked: {"addresses": [A]})
    assert peers_for(home, None)[1] == (A, B)
    assert peers_for(home, C)[1] == (C,), "the one that is named is asked alone"
    (home / "net.toml").write_text(dump_network(OLD, (C,)))
    assert peers_for(home, None, home / "net.toml") == (OLD, (A, C, B))


def test_nobody_to_ask_is_said_with_what_to_do(home: Path) -> None:
    with pytest.raises(ConfigError, match="give --peer MULTIADDR"):
        peers_for(home, None)
    (home / BOOK).write_text("{}")
    assert peers_for(home, None)[1] == (), "the client knows peers of its own"


def test_the_next_peer_is_asked_where_one_is_gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text(dump_toml({"bootstrap": [A, B]}))
    asked: list[Any] = []

    def asking(directory: Path, address: str | None, network: object, work: Any) -> Any:
        asked.append(address)
        if address == A:
            raise Unavailable("gone", field="peer")
        return work(None)

    monkeypatch.setattr("p2p.cli.questions.asking", asking)
    assert asking_any(home, lambda ask: "found") == "found"
    assert asked == [A, B]
    (home / "config.toml").write_text(dump_toml({"bootstrap": [A]}))
    with pytest.raises(Unavailable, match="gone"):
        asking_any(home, lambda ask: "found")


def stdin(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, raw)
    os.close(writing)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(reading, "rb", buffering=0)))


def test_what_is_piped_is_bounded_utf_8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stdin(monkeypatch, "ไทย\n".encode())
    assert piped(100, "prompt") == "ไทย\n"
    stdin(monkeypatch, b"x" * 101)
    with pytest.raises(InvalidRequest, match="more than 100 bytes"):
        piped(100, "prompt")
    stdin(monkeypatch, b"\xff")
    with pytest.raises(InvalidRequest, match="no UTF-8"):
        piped(100, "prompt")
    (tmp_path / "file").write_text("from a file")
    with (tmp_path / "file").open() as file, Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", file)
        assert piped(100, "prompt") == "from a file"
        monkeypatch.setattr(sys, "stdin", nothing)
        assert piped(100, "prompt") == ""
    monkeypatch.setattr(sys, "stdin", None)
    assert piped(100, "prompt") == ""
