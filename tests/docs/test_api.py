"""The API reference is true: every name it lists exists with these parameters and fields, and its examples run."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

API = Path(__file__).parent.parent.parent / "docs" / "api"
PAGES = sorted(page for page in API.glob("*.md") if page.name != "README.md")
HEADING = re.compile(r"^### `((?:p2p|tests)\.[\w.]+)(?:\(([^)]*)\))?`$", re.M)
EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.M | re.S)
FIELD = re.compile(r"^\| `(\w+)` \|", re.M)


def found(name: str) -> Any:
    """What a dotted name stands for: the longest part that is a module, then its attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise AssertionError(f"no module {name}")


def sections(text: str) -> list[tuple[str, str | None, str]]:
    """(dotted name, parameters as written or None, the text up to the next heading) of each name on a page."""
    matches = list(HEADING.finditer(text))
    ends = [m.start() for m in re.finditer(r"^##+ ", text, re.M)] + [len(text)]
    return [(m[1], m[2], text[m.end() : next(end for end in ends if end > m.start())]) for m in matches]


def names_of(parameters: str) -> list[str]:
    """The names in `a, b=1, *, c`."""
    return [part.split("=")[0].strip() for part in parameters.split(",") if part.strip() not in ("", "*")]


def is_value(thing: Any) -> bool:
    """Whether a table below it lists fields: a struct or a dataclass."""
    return inspect.isclass(thing) and (hasattr(thing, "__struct_fields__") or hasattr(thing, "__dataclass_fields__"))


CASES = [(page.stem, *section) for page in PAGES for section in sections(page.read_text())]


@pytest.mark.parametrize(("page", "name", "parameters", "text"), CASES, ids=[f"{c[0]}:{c[1]}" for c in CASES])
def test_listed_names_exist_as_they_are_listed(page: str, name: str, parameters: str | None, text: str) -> None:
    thing = found(name)
    if parameters is not None:
        real = [p for p in inspect.signature(thing).parameters if p != "self"]
        assert names_of(parameters) == real
    if is_value(thing):
        fields = tuple(getattr(thing, "__struct_fields__", ())) or tuple(thing.__dataclass_fields__)
        listed = FIELD.findall(text)
        assert not listed or tuple(listed) == tuple(fields), "the table lists every field, in order"
    assert inspect.getdoc(thing), f"{name} has no docstring"


@pytest.fixture
def own_log() -> Iterator[None]:
    """The simulator's example silences the log of its process."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_log")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path) -> None:
    code = "\n".join(EXAMPLE.findall(page.read_text()))
    assert code, "a page has at least one example"
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def test_every_page_is_in_the_index() -> None:
    index = (API / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == []


def test_the_program_in_the_guide_fits_the_code() -> None:
    """It asks a peer, so it is not run: its imports are carried out, and each call of what it imports fits."""
    guide = (API.parent / "use-from-code.md").read_text()
    program = re.search(r"^```python\n(.*?)^```$", guide, re.M | re.S)
    assert program is not None
    tree = ast.parse(program[1])
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "guide", "exec"), names)
    called = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        if name.split(".")[0] in names:
            placed = [ast.unparse(argument) for argument in call.args]
            thing = functools.reduce(getattr, name.split(".")[1:], names[name.split(".")[0]])
            inspect.signature(thing).bind(*placed, **{str(k.arg): None for k in call.keywords})
            called.add(name)
    assert {"Client.open", "chat_question"} <= called
