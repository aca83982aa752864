"""The site of the documents: what its hook does to a page, and that every page has a place. `make docs` builds it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "text", "wanted"), [
    ("docs/network.md", "[a](protocol.md#x)", "[a](protocol.md#x)"),
    ("docs/network.md", "[map](../ARCHITECTURE.md)", "[map](ARCHITECTURE.md)"),
    ("docs/api/client.md", "[map](../../ARCHITECTURE.md#x)", "[map](../ARCHITECTURE.md#x)"),
    ("docs/network.md", "[a file](../Containerfile)", "a file (`Containerfile` in the sources)"),
    ("docs/network.md", "[p2p/base/keys.py](../p2p/base/keys.py)", "p2p/base/keys.py"),
    ("docs/network.md", "[a](https://example.org/x)", "[a](https://example.org/x)"),
    ("docs/network.md", "![plot](economy/maps.png)", "![plot](economy/maps.png)"),
    ("ARCHITECTURE.md", "[scale](docs/scale.md#a)", "[scale](scale.md#a)"),
    ("docs/network.md", "```\n[a](../Containerfile)\n- b\n```\n", "```\n[a](../Containerfile)\n- b\n```\n"),
    ("docs/network.md", "text\n- one\n- two\n  more", "text\n\n- one\n- two\n  more"),
    ("docs/network.md", "- one\n  more\n- two", "- one\n  more\n- two"),
])
def test_a_page_is_changed_where_mkdocs_reads_otherwise(hook: ModuleType, page: str, text: str, wanted: str) -> None:
    assert hook.prepared(text, ROOT / page) == wanted


def test_every_page_has_a_place_in_the_navigation() -> None:
    """Or is one of those that other pages lead to; `make docs` fails on the rest."""
    text = (ROOT / "mkdocs.yml").read_text()
    nav = set(re.findall(r"([\w./-]+\.md)\s*$", text[text.index("\nnav:"):], re.M))
    led_to = text[text.index("not_in_nav"):text.index("\nnav:")]
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    outside = {page for page in pages - nav if not re.match(r"decisions/0\d\d-|economy/quick/", page)}
    assert all(page in led_to for page in outside), outside
    assert nav - pages == {"ARCHITECTURE.md", "CHANGELOG.md"}, "pages of the root, which the hook adds"
