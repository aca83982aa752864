"""The sandbox that chat templates run in: what they may call, and what each thing costs.

Law: a template's work, its texts and its loops end, and nothing in it depends on a clock, chance or this machine.

Each turn of a loop, each call, addition and joining of texts is paid from one rendering's steps; a text costs by its
length besides. What could make a huge value out of small ones at once is looked at before it does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any

from jinja2 import pass_context
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from p2p.base.limits import KIB
from p2p.base.serving_limits import MAX_RENDERED, MAX_TEMPLATE_STEPS
from p2p.text.today import written

WORK = "work of this rendering"  # a variable that no template can name
_CALL = 4  # steps: it takes longer than a turn of a loop
TURNS, JOINED = "turns of a loop", "joined texts"  # filters that no template can name
_ESCAPED = re.compile("[^\x00-\x7f]")
_WIDE = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{4})|\{[^}]*(?:\{|\d{4})")  # a width for % or format()
_PLACE = re.compile(r" at 0x[0-9a-f]+>")


class TooMuch(TemplateError):
    """The template does more than one rendering may."""


class Refused(TemplateError):
    """The template itself refuses the conversation (`raise_exception`)."""


class Work:
    """What one rendering may still do, and which day it is."""

    def __init__(self, day: date) -> None:
        self.steps = MAX_TEMPLATE_STEPS
        self.day = day

    def spend(self, steps: int) -> None:
        """Raises TooMuch where none are left."""
        self.steps -= steps
        if self.steps < 0:
            raise TooMuch(f"the template takes more than {MAX_TEMPLATE_STEPS} steps for this conversation")


def _work(context: Context) -> Work:
    work = context[WORK]
    assert isinstance(work, Work)
    return work


def _paid(context: Context, value: Any) -> Any:
    """`value`, paid by its length."""
    size = len(value) if isinstance(value, str | list | tuple) else 0
    _bound(size)
    _work(context).spend(1 + size // KIB)
    return value


def _bound(size: float) -> None:
    if size > MAX_RENDERED:
        raise TooMuch(f"the template makes a text of more than {MAX_RENDERED} characters")


def _bound_width(*numbers: Any) -> None:
    if any(isinstance(number, int) and number > KIB for number in numbers):
        raise TooMuch(f"the template gives a text a width above {KIB}")


class Sandbox(ImmutableSandboxedEnvironment):
    """As transformers' environment, and paid."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], cache_size=0, finalize=_shown
        )
        for name in ("random", "center", "wordwrap", "urlize", "pprint"):  # by chance, or of any size
            del self.filters[name]
        del self.globals["lipsum"]  # by chance
        for name in ("indent", "batch", "slice"):
            self.filters[name] = _narrow(self.filters[name])
        self.filters |= {
            "tojson": _tojson, "replace": _replace, "join": _join, "format": _format, TURNS: _turns, JOINED: _joined,
        }
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(__obj, "__wrapped__", __obj)
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in ("format", "format_map"):
                _check_form(owner)
            elif name == "replace":
                _replace(owner, *args, **kwargs)
            elif name == "join" and args and isinstance(args[0], Sequence):
                _bound(len(owner) * len(args[0]))
            else:
                _bound_width(*args, *kwargs.values())
        _work(__context).spend(_CALL)
        return _paid(__context, super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _check_form(left)
        elif operator == "**" and not (abs(left) <= 1 << 32 and abs(right) <= 64):
            raise TooMuch("a template may only take small powers")
        elif operator == "*":
            _bound(_size(left) * _size(right))
        return _paid(context, super().call_binop(context, operator, left, right))


def _size(value: Any) -> float:
    return len(value) if isinstance(value, str | list | tuple) else abs(value)


def _check_form(form: str) -> None:
    if _WIDE.search(form):
        raise TooMuch("a template may not choose a wide form for a text")


def _narrow(filter_: Callable[..., Any]) -> Callable[..., Any]:
    def narrow(value: Any, *args: Any, **kwargs: Any) -> Any:
        _bound_width(*args, *kwargs.values())
        return filter_(value, *args, **kwargs)

    return narrow


@pass_context
def _turns(context: Context, items: Any) -> Iterator[Any]:
    work = _work(context)
    for item in items:
        work.spend(1)
        yield item


@pass_context
def _joined(context: Context, texts: Sequence[Any]) -> Any:
    return _paid(context, "".join(map(str, texts)))


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    _bound(len(text) + text.count(old) * len(new))
    return str(text).replace(old, new, -1 if count is None else count)


def _join(items: Iterable[Any], between: Any = "", attribute: str | int | None = None) -> str:
    texts = [str(item if attribute is None else _part(item, attribute)) for item in items]
    _bound(sum(map(len, texts)) + len(texts) * len(str(between)))
    return str(between).join(texts)


def _part(item: Any, name: str | int) -> Any:
    return item.get(name, "") if isinstance(item, dict) else item[name]


def _format(form: Any, *args: Any, **kwargs: Any) -> str:
    _check_form(str(form))
    return str(str(form) % (kwargs or args))


@pass_context
def _tojson(
    context: Context, value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
    sort_keys: bool = False,
) -> Any:
    """As transformers' filter: no escapes for HTML. Escapes for ASCII are made here, so that signs stay signs."""
    _bound_width(indent)
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    if ensure_ascii:
        text = _ESCAPED.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return _paid(context, text)


@pass_context
def _strftime_now(context: Context, form: str) -> str:
    return written(_work(context).day, form)


def _raise_exception(message: Any) -> None:
    raise Refused(str(message))


def _shown(value: Any) -> Any:
    """What a template may write: nothing that says where in memory it is."""
    if not isinstance(value, str | int | float | Undefined | None) and _PLACE.search(str(value)):
        raise TooMuch("a template may not write a function")
    return value


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's words for training, writes what is in it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("say"), [], [], body).set_lineno(line)

    def say(self, caller: Macro) -> str:
        return str(caller())
