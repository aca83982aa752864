"""The source tree keeps its rules: which room may import which, which module may use which library, file length."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
FILES = [path for room in ("p2p", "testnet", "bootstrap") for path in sorted((ROOT / room).rglob("*.py"))]
ALLOWED = {
    "libp2p": ("p2p/gossip/",),
    "multiaddr": ("p2p/gossip/",),
    "lmdb": ("p2p/store/lmdb.py",),
    "tokenizers": ("p2p/text/",),
    "jinja2": ("p2p/text/",),
    "llguidance": ("p2p/grammar/",),
    "vllm": ("p2p/inference/vllm/",),
    "torch": ("p2p/inference/", "p2p/verification/tape_torch.py", "p2p/lab/attacks/weights.py"),
    "transformers": ("p2p/inference/", "p2p/lab/attacks/weights.py"),
}
PURE = (
    "p2p/ledger/", "p2p/gossipsub/", "p2p/scheduling/", "p2p/consensus/machine.py", "p2p/consensus/votes.py",
    "p2p/consensus/driver.py", "p2p/consensus/round.py", "p2p/consensus/signer.py", "p2p/base/weighted_draw.py",
    "p2p/verification/pick.py",
    "p2p/verification/tape.py", "p2p/verification/artifact.py", "p2p/verification/check.py",
    "p2p/verification/duty.py", "p2p/verification/statistics.py", "p2p/verification/profile.py",
    "p2p/verification/calibration.py", "p2p/verification/sequential.py", "p2p/chain/views/",
    "p2p/text/stop.py", "p2p/text/controls.py", "p2p/text/sandbox.py", "p2p/text/template.py", "p2p/text/tool_formats/",
)
IMPURE = {"trio", "time", "random", "socket", "os", "lmdb", "libp2p", "httpx", "subprocess"}


MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
ROW = re.compile(r"\| `([\w.]+)` \| [^|]+ \|((?: `[\w.]+`)*) \|")


@cache
def imported(text: str) -> frozenset[str]:
    """Every module that `text` imports anywhere, also under TYPE_CHECKING and in functions.

    `from a import b` imports a.b where that is a module, else a.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return frozenset(found)


def imports(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path.read_text())}


def room_of(module: str) -> str:
    """'ledger.money' for p2p.ledger.money.price; '' for a module outside p2p."""
    path = MODULES.get(module)
    return ".".join(path.parent.relative_to(ROOT).parts[1:]) if path is not None and module.startswith("p2p.") else ""


def table(text: str) -> dict[str, list[str]]:
    """room -> the rooms it may import, in the order of ARCHITECTURE.md's table."""
    return {row[1]: re.findall(r"`([\w.]+)`", row[2]) for row in ROW.finditer(text)}


def arrows(modules: dict[str, str]) -> dict[str, set[str]]:
    """room -> the rooms it does import. modules: name -> source text."""
    found: dict[str, set[str]] = {}
    for name, text in modules.items():
        if room := room_of(name):
            others = {room_of(other) for other in imported(text)} - {room, ""}
            found.setdefault(room, set()).update(others)
    return found


def problems(rooms: dict[str, list[str]], used: dict[str, set[str]]) -> list[str]:
    """One sentence for each fault: an import that the table does not list, a listed one that no module makes, and one
    that does not run downwards."""
    order = list(rooms)
    said = [f"{room} has no row" for room in used.keys() - rooms.keys()]
    said += [f"{room} is no room" for room in rooms.keys() - used.keys()]
    for room, allowed in rooms.items():
        made, above = used.get(room, set()), order[: order.index(room)]
        said += [f"{room} imports {other}, and its row does not say so" for other in made - set(allowed)]
        said += [f"{room} does not import {other}, and its row says so" for other in set(allowed) - made]
        said += [f"{room} may not import {other}: it is not above it" for other in allowed if other not in above]
    return sorted(said)


def test_rooms_import_only_what_the_table_says_and_only_downwards() -> None:
    rooms = table((ROOT / "ARCHITECTURE.md").read_text())
    assert len(rooms) > 20, "the table was read"
    assert problems(rooms, arrows({name: path.read_text() for name, path in MODULES.items()})) == []


@pytest.mark.parametrize(("module", "line", "said"), [
    (
        "p2p.store.lmdb", "from p2p.ledger.state.view import View",
        "store imports ledger.state, and its row does not say so",
    ),
    (
        "p2p.base.types", "if TYPE_CHECKING:\n    from p2p.peer import node",
        "base imports peer, and its row does not say so",
    ),
    ("p2p.peer.node", "def f():\n    import p2p.lab.roles", "peer imports lab, and its row does not say so"),
])
def test_an_import_against_the_table_is_found(module: str, line: str, said: str) -> None:
    sources = {name: path.read_text() for name, path in MODULES.items()}
    sources[module] += f"\n{line}\n"
    assert problems(table((ROOT / "ARCHITECTURE.md").read_text()), arrows(sources)) == [said]


def test_a_table_that_allows_a_way_up_is_refused() -> None:
    assert problems({"a": ["b"], "b": []}, {"a": {"b"}, "b": set()}) == ["a may not import b: it is not above it"]


README_LINES = 40


def test_every_room_has_a_short_readme() -> None:
    for room in table((ROOT / "ARCHITECTURE.md").read_text()):
        readme = ROOT.joinpath("p2p", *room.split("."), "README.md")
        assert readme.is_file(), f"{room} has no README.md"
        assert len(readme.read_text().splitlines()) <= README_LINES, f"{readme}: at most {README_LINES} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_the_house_rules(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "at most 400 lines a file: split it"
    assert ast.get_docstring(ast.parse(text)), "the module docstring states the file's law"
    used = imports(path)
    for library, places in ALLOWED.items():
        assert library not in used or name.startswith(places), f"{library} is imported outside {places}"
    if name.startswith(PURE):
        assert not used & IMPURE, f"a pure core imports {used & IMPURE}"


def test_no_property_has_a_time_limit() -> None:
    """Hypothesis allows 200 ms unless told otherwise (tests/conftest.py), and a busy machine would exceed that."""
    assert settings().deadline is None
