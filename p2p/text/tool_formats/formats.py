"""The formats that a model may be registered with.

Law: one entry a file; a name that is on a chain never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p.base.errors import ConfigError
from p2p.text.tool_formats.hermes import HERMES
from p2p.text.tool_formats.llama3_json import LLAMA3_JSON
from p2p.text.tool_formats.mistral import MISTRAL
from p2p.text.tool_formats.pieces import ToolFormat

FORMATS: Mapping[str, ToolFormat] = {one.name: one for one in (MISTRAL, HERMES, LLAMA3_JSON)}


def markers(name: str) -> tuple[str, ...]:
    """The words that a format gives a meaning; none for "", a model that calls no tools. Raises ConfigError for a
    format that is not known."""
    if not name:
        return ()
    if name not in FORMATS:
        raise ConfigError(f"tool format {name!r} is not known; there are {', '.join(FORMATS)}", field="tool_format")
    return FORMATS[name].markers


def guess(template: str) -> str:
    """The format that a chat template seems to ask for; "" for none."""
    return next((name for name, one in FORMATS.items() if one.guess(template)), "")
