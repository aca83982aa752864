"""Commands of the pages, run as they stand there: each block after `<!-- executed: NAME -->`, against a local network.

The table SETUPS says for each NAME what stands for a page's placeholders; TABLE which pages have how many such blocks.
All other commands of the pages are parsed (test_pages.py).
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.base.toml_file import dump_toml
from p2p.cli.main import main
from p2p.client.network_file import dump_network
from tests.net_lab import Net

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^<!-- executed: (\w+) -->\n```\w*\n(.*?)^```", re.M | re.S)
TABLE = {
    "getting-started.md": ["demo", "demo", "join"], "join-as-a-host.md": ["join", "join"], "operations.md": ["demo"],
}
ENVIRONMENT = "source .venv/bin/activate"  # a line that a shell runs, and that changes nothing here
SETUPS = {
    "demo": ("ADDRESS", "ID", "HEX", "DIR", ".testnet/demo", "block 12"),
    "join": ("network.toml", "my-peer"),
}


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((DOCS / page).read_text())


def test_the_table_is_whole() -> None:
    found = {page.name: [name for name, _ in blocks(page.name)] for page in DOCS.glob("*.md")}
    assert {page: names for page, names in found.items() if names} == TABLE
    assert {name for names in TABLE.values() for name in names} == SETUPS.keys()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("docs") / ".testnet" / "demo", 3)
    yield made
    made.close()


@pytest.fixture
def here(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the pages' relative paths lead to the network."""
    (tmp_path / ".testnet").symlink_to(net.directory.parent)
    (tmp_path / "network.toml").write_text(dump_network(net.genesis, (net.address(0),)))
    settings = dump_toml({"bootstrap": [net.address(0)]})  # as testnet/up.py writes them
    (net.directory / "client" / "config.toml").write_text(settings)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))  # for chat
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """One line of a page. Returns what it printed."""
    words = shlex.split(text)
    assert words[0] == "folkmoot", text
    status = main(words[1:])
    said = capsys.readouterr()
    assert status == 0, f"{text}: {said.err or said.out}"
    return said.out


@pytest.mark.network
@pytest.mark.parametrize("page", TABLE)
def test_the_commands_do_what_the_page_says(
    net: Net, here: Path, capsys: pytest.CaptureFixture[str], page: str,
) -> None:
    """All blocks of a page, in their order, in one folder."""
    words = {"ADDRESS": net.address(0), "HEX": net.client(), "DIR": ".testnet/demo/peer1", "block 12": "block 1"}
    for name, block in blocks(page):
        assert name in SETUPS
        for row in filter(None, block.splitlines()):
            if row == ENVIRONMENT:
                continue
            if "ID" in row.split():
                words["ID"] = inference(net, capsys)
            for placeholder, real in words.items():
                row = re.sub(rf"(?<![\w/]){placeholder}(?!\w)", real, row)
            said = run(f"{row} --listen /ip4/127.0.0.1/tcp/0" if row.startswith("folkmoot join") else row, capsys)
            assert said.strip(), row


def inference(net: Net, capsys: pytest.CaptureFixture[str]) -> str:
    """The id of a new inference that the first peer knows."""
    client = net.directory / "client"
    said = run(f"folkmoot ask --json --dir {client} --peer {net.address(0)} --max-tokens 4 hello", capsys)
    done = [event for event in map(json.loads, said.splitlines()) if event["event"] == "done"]
    found = str(done[0]["receipt"]["inference_id"])
    net.final(found)
    return found
