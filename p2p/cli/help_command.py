"""help: topics, the help of any command, JSON schemas, exit codes.

Law: reads files of this package and the table of commands; loads a command only to show its help.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.commands import BY_NAME
from p2p.cli.exit_codes import as_text, exit_codes
from p2p.cli.output import show
from p2p.cli.parsing import actions_of, help_width, meant, overview, parser
from p2p.cli.terminal.fit import fit

EXIT_CODES, SCHEMAS = "exit-codes", "json"


def register(commands: Any) -> None:
    command = commands.add_parser("help")
    command.add_argument("topic", nargs="*", metavar="TOPIC", help="a topic, or a command (default: list all)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    text = text_of(options.topic)
    if options.topic[:1] == [SCHEMAS] and len(options.topic) > 1:
        print(text)  # is JSON anyway
    elif options.topic == [EXIT_CODES]:
        rows = [one._asdict() for one in exit_codes()]
        show(options, {"exit_codes": rows}, lambda: text)
    else:
        show(options, {"topic": " ".join(options.topic), "text": text}, lambda: text)
    return 0


def text_of(words: list[str]) -> str:
    """The help of a topic. Raises ConfigError naming the one that was probably meant."""
    if not words:
        return f"{overview()}\n\n" + fit(f"topics, for folkmoot help TOPIC: {', '.join(topics())}", help_width())
    if words[0] == SCHEMAS and len(words) > 1:
        return schema_text(words[1:])
    if words[0] == EXIT_CODES:
        return fit(as_text(), help_width())
    if words[0] in topics() and len(words) == 1:
        more = ""
        if words[0] == SCHEMAS:
            more = "\n\nschemas: " + ", ".join(name.replace("_", " ") for name in schema_names())
        if words[0] in BY_NAME:
            more = f"\n\nThe command of this name: folkmoot {words[0]} --help"
        return fit(_file("topics", f"{words[0]}.txt").rstrip() + more, help_width())
    if words[0] in BY_NAME:
        return _of_command(words)
    raise ConfigError(
        f"there is no topic {words[0][:60]!r}{meant(words[0], [*topics(), *BY_NAME])}; folkmoot help lists all",
        field="topic",
    )


def _of_command(words: list[str]) -> str:
    command: argparse.ArgumentParser = parser(words[0])
    for word in words:
        found = actions_of(command)
        if word not in found:
            what = f"{command.prog} has no action {word[:60]!r}"
            raise ConfigError(f"{what}{meant(word, found)}", field="topic")
        command = found[word]
    return command.format_help().rstrip()


def topics() -> list[str]:
    """Names of topics."""
    return sorted([EXIT_CODES, *_stems("topics", ".txt")])


def schema_names() -> list[str]:
    """Commands that have a schema, words joined by '_'."""
    return sorted(_stems("schemas", ".json"))


def schema_text(words: list[str]) -> str:
    """The JSON Schema of what a command prints. Raises ConfigError."""
    name = "_".join(words)
    if name not in schema_names():
        shown = [one.replace("_", " ") for one in schema_names()]
        what = f"there is no schema of {' '.join(words)[:60]!r}{meant(' '.join(words), shown)}"
        raise ConfigError(f"{what}; folkmoot help json lists all", field="topic")
    return _file("schemas", f"{name}.json").rstrip()


def schema(words: str) -> dict[str, Any]:
    """The schema of `folkmoot WORDS`, or of 'errors'."""
    found: dict[str, Any] = json.loads(schema_text(words.split(" ")))
    return found


def _stems(folder: str, end: str) -> list[str]:
    return [one.name.removesuffix(end) for one in files("p2p.cli").joinpath(folder).iterdir() if one.name.endswith(end)]


def _file(folder: str, name: str) -> str:
    return files("p2p.cli").joinpath(folder).joinpath(name).read_text(encoding="utf-8")
