"""`folkmoot serve --http`: a fault of the gateway leaves the peer as it is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from p2p.base.errors import StorageError
from p2p.cli.serve_http import http_task
from p2p.client.client import Client
from p2p.machine.tasks import Tasks


async def test_files_that_the_gateway_cannot_keep_do_not_end_the_peer(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """Where the peer's own store fails it ends; this is not its store."""
    @asynccontextmanager
    async def broken(*args: Any, **named: Any) -> Any:
        raise StorageError("no space left")
        yield

    monkeypatch.setattr(Client, "open", broken)
    network = SimpleNamespace(addresses=lambda: ["/ip4/127.0.0.1/tcp/1"], connected=lambda: ["one"])
    tasks = Tasks()
    node: Any = SimpleNamespace(
        tasks=tasks, network=network, config=SimpleNamespace(directory=None), chain=SimpleNamespace(genesis=None),
    )
    with trio.move_on_after(30):
        await http_task("127.0.0.1:0", None, lambda url: None)(node)
    assert tasks.failures["http"] > 1, "it is started again"
    assert "no space left" in tasks.last["http"]
