"""Runs a model's chat template: Jinja, as Hugging Face's tools run it, within bounds.

Law: what a template writes is a function of its text and its variables. It ends (sandbox.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from jinja2 import Template, nodes
from jinja2.visitor import NodeTransformer

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_KEPT_TEMPLATES, MAX_RENDERED, MAX_TEMPLATE
from p2p.text.sandbox import JOINED, TURNS, WORK, Sandbox, TooMuch, Work
from p2p.text.today import DAY

_SANDBOX = Sandbox()


@lru_cache(maxsize=MAX_KEPT_TEMPLATES)
def compiled(source: str) -> Template:
    """A template, ready to render. Raises ConfigError where it is too long or no template."""
    if len(source) > MAX_TEMPLATE:
        raise ConfigError(f"a chat template has at most {MAX_TEMPLATE} characters", field="template")
    try:
        code = _SANDBOX.compile(_Counted().visit(_SANDBOX.parse(source)))
        return Template.from_code(_SANDBOX, code, _SANDBOX.make_globals(None))
    except Exception as error:  # a stranger's program: Jinja and Python's own compiler fail in many ways
        raise ConfigError(f"not a chat template: {type(error).__name__} {error}"[:200], field="template") from error


def render(template: Template, variables: Mapping[str, Any], day: date = DAY) -> str:
    """What the template writes, at most MAX_RENDERED characters. day: the date that it may ask for.

    Raises Refused with the template's own words, TooMuch, and whatever else a stranger's program raises. Safe in
    threads; a long conversation takes milliseconds, the worst one two seconds.
    """
    pieces, size = [], 0
    for piece in template.generate({**variables, WORK: Work(day)}):
        size += len(piece)
        if size > MAX_RENDERED:
            raise TooMuch(f"the template writes more than {MAX_RENDERED} characters for this conversation")
        pieces.append(piece)
    return "".join(pieces)


class _Counted(NodeTransformer):
    """Pays for each turn of a loop, and for texts joined by `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, TURNS, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), JOINED, [], [], None, None, lineno=node.lineno)
