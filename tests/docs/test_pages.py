"""The documents do not lie: every relative link leads somewhere; every command, option, target, module exists."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.cli.parsing import parser

ROOT = Path(__file__).parent.parent.parent
SKIPPED = {".venv", ".venv-docs", ".testnet", ".bench", "build", ".hypothesis", ".git", "node_modules"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not SKIPPED & set(p.relative_to(ROOT).parts))
GUIDES = [p for p in PAGES if p.parent == ROOT or p.is_relative_to(ROOT / "docs")]
MAKEFILE = (ROOT / "Makefile").read_text()
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
CODE = re.compile(r"^```(?:console|sh|bash)?\n(.*?)^```|`([^`\n]+)`", re.M | re.S)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} does not exist"
        assert not anchor or there.suffix != ".md" or anchor in anchors(there), f"{target}: no such heading"


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command shown in `page`, a line each, without prompt and comment."""
    for block, inline in CODE.findall(page.read_text()):
        for line in (block.replace("\\\n", " ") or inline).splitlines():
            text = re.sub(r"(^|\s)#.*$", "", line.removeprefix("$ ")).strip()
            if text.startswith(("folkmoot ", "make ", "python -m ")):
                try:
                    yield shlex.split(text)
                except ValueError:
                    yield text.split()


def options_of(command: argparse.ArgumentParser) -> tuple[set[str], dict[str, argparse.ArgumentParser]]:
    """The options of a command, and its actions by name."""
    options, actions = set(), {}
    for action in command._actions:
        options |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            actions = dict(action.choices)
    return options, actions


def complaint(words: list[str]) -> str:
    """Why this command does not exist; '' where it does."""
    if words[0] == "make":
        targets = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        variables = [word.partition("=")[0] for word in words[1:] if re.match(r"[A-Z_]+=", word)]
        missing = [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.M)]
        missing += [name for name in variables if not re.search(rf"\b{name}\b", MAKEFILE)]
        return f"the Makefile has no {missing}" if missing else ""
    if words[0] == "python":
        return (
            ""
            if words[2] in ("venv", "pip", "pytest") or importlib.util.find_spec(words[2])
            else f"no module {words[2]}"
        )
    command, options = parser(), set()
    for word in words[1:]:
        own, actions = options_of(command)
        options |= own
        if word in actions:
            command = actions[word]
    options |= options_of(command)[0]
    if command.prog == "folkmoot" and not words[1].startswith(("-", "COMMAND")):
        return f"no command {words[1]}"
    unknown = [
        word for word in words[1:] if word.startswith("--") and word.partition("=")[0] not in (*options, "--")
    ]
    return f"{command.prog} has no {unknown}" if unknown else ""


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    found = [(" ".join(words), complaint(words)) for words in commands(page) if len(words) > 1]
    assert [pair for pair in found if pair[1]] == []


@pytest.mark.parametrize(("text", "why"), [
    ("folkmoot brew --dir x", "no command brew"),
    ("folkmoot account transfer --too 3", "folkmoot account transfer has no ['--too']"),
    ("make coffee CUPS=2", "the Makefile has no ['coffee', 'CUPS']"),
    ("python -m p2p.nothing", "no module p2p.nothing"),
    ("folkmoot account transfer --peer ADDRESS HEX 5", ""),
    ("make sim SEEDS=3", ""),
])
def test_a_command_that_does_not_exist_is_found(text: str, why: str) -> None:
    assert complaint(text.split()) == why


FILE = re.compile(r"(?<![\w/.~-])((?:[a-z_]+/)+[\w.-]+\.(?:py|md|json|toml|sh|cbor))\b")
ROOTS = (ROOT, ROOT / "p2p", ROOT / "docs")


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```|\]\([^)]*\)", "", page.read_text(), flags=re.M | re.S)
    missing = [name for name in FILE.findall(text) if not any((root / name).exists() for root in (*ROOTS, page.parent))]
    assert missing == []


WORD = re.compile(r"`([a-z]+(?:_[a-z0-9]+)+|[A-Z]{2,}(?:_[A-Z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\([^`]*\))?`")
SOURCES = [file for folder in ("p2p", "testnet", "tests", "bootstrap") for file in (ROOT / folder).rglob("*.py")]
SOURCES.append(ROOT / "monitoring" / "alerts.yml")


@pytest.fixture(scope="module")
def words() -> frozenset[str]:
    """Every word of the sources, with its beginnings and ends: `emission_cap` stands for `emission_cap_milli`."""
    whole = {word for file in SOURCES for word in re.findall(r"\w+", file.read_text())}
    parts = {"_".join(p[:at]) for w in whole for p in [w.split("_")] for at in range(2, len(p))}
    ends = {"_".join(p[at:]) for w in whole for p in [w.split("_")] for at in range(1, len(p) - 1)}
    return frozenset(whole | parts | ends)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_names_of_the_code_are_those_of_the_code(page: Path, words: frozenset[str]) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    assert [word for word in WORD.findall(text) if word not in words] == []


@pytest.mark.parametrize("page", [p for p in GUIDES if re.match(r"\d{3}-", p.name)], ids=name_of)
def test_decision_records_have_one_form(page: Path) -> None:
    parts = re.findall(r"^\*\*(\w+)\.?\*\*", page.read_text(), re.M)
    wanted = ["Status", "Context", "Options", "Choice", "Consequences"]
    if "Replaced by decision" in page.read_text():
        wanted.remove("Options")
    assert [part for part in parts if part in wanted] == wanted
    assert f"({page.name})" in (page.parent / "README.md").read_text(), "the index lists it"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md" and f"({page.name})" not in index
    ] == []


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


TESTS = set(re.findall(r"def (test_\w+)", "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))))


def test_tests_that_the_ledger_rules_name_exist() -> None:
    """They stand there without `test_`, and with `*` for the end."""
    named = re.findall(r"`(\w+_)\*`", (ROOT / "docs" / "ledger-rules.md").read_text())
    assert len(named) > 10
    assert [one for one in named if not any(test.startswith(f"test_{one}") for test in TESTS)] == []
