"""The tree keeps its own laws: file length, import direction, one outside library per module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "p2p").rglob("*.py")) + sorted((ROOT / "testnet").rglob("*.py")) + sorted((ROOT / "bootstrap").rglob("*.py"))
ALLOWED = {
    "libp2p": ("p2p/gossip/",),
    "multiaddr": ("p2p/gossip/",),
    "lmdb": ("p2p/store/lmdb.py",),
    "vllm": ("p2p/inference/vllm_tape.py", "p2p/inference/vllm_rows.py", "p2p/inference/vllm_main.py",
             "p2p/inference/vllm_server.py"),
    "torch": ("p2p/inference/vllm_tape.py", "p2p/inference/vllm_rows.py", "p2p/verification/tape_torch.py", "p2p/inference/model.py",
              "p2p/attacks/weights.py", "p2p/inference/torch_"),
    "transformers": ("p2p/inference/model.py", "p2p/attacks/weights.py", "p2p/inference/torch_"),
}
PURE = ("p2p/ledger/", "p2p/consensus/machine.py", "p2p/consensus/votes.py", "p2p/consensus/driver.py", "p2p/consensus/round.py",
        "p2p/inference/draw.py", "p2p/inference/torch_pick.py",
        "p2p/verification/tape.py", "p2p/verification/artifact.py", "p2p/verification/check.py", "p2p/verification/duty.py",
        "p2p/verification/statistics.py", "p2p/verification/profile.py", "p2p/verification/calibration.py",
        "p2p/verification/sequential.py", "p2p/chain_view.py", "p2p/chain_orders.py")
IMPURE = {"trio", "time", "random", "socket", "os", "lmdb", "libp2p", "httpx", "subprocess"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_the_house_rules(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "one noun per file: split it"
    assert ast.get_docstring(ast.parse(text)), "the module docstring states the file's law"
    used = imports(path)
    for library, places in ALLOWED.items():
        assert library not in used or name.startswith(places), f"{library} is imported outside {places}"
    if name.startswith(PURE):
        assert not used & IMPURE, f"a pure core imports {used & IMPURE}"


def test_no_property_has_a_time_limit() -> None:
    """Hypothesis has one of 200 ms unless told otherwise (tests/conftest.py): on a busy machine that is a failure of nothing."""
    assert settings().deadline is None
