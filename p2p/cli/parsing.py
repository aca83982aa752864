"""The parser of the command line: from the table in commands.py, one module for each command.

Law: only the module of the command that is called is imported. A word that does not fit is an error like any other,
one line with the option's name, what is allowed, and the word that was probably meant.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from p2p.base.errors import ConfigError
from p2p.cli.commands import BY_NAME, COMMANDS, GROUPS, examples_of
from p2p.cli.terminal.fit import fit

MAX_WIDTH = 100  # columns of help: longer lines are hard to read
MIN_WIDTH = 50
_SHOWN_CHOICES = 24  # of the values that are allowed, in an error


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, within bounds."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=help_width() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fit(text, width) if "\n" not in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """Words that do not fit are errors like any other: one line with the option's name, or JSON."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", Formatter)
        super().__init__(*args, **kwargs)
        self.register("action", "parsers", _Actions)

    def error(self, message: str) -> NoReturn:
        name, found, rest = message.removeprefix("argument ").partition(": ")
        if not found or not message.startswith("argument "):
            if actions := actions_of(self) if message.endswith("required: ACTION") else {}:
                raise ConfigError(f"say what to do: {', '.join(actions)}; see {self.prog} --help", field="action")
            raise ConfigError(f"{message}; see {self.prog} --help", field="command")
        options = [word.strip().split(" ")[0] for word in name.split("/")]
        field = max(options, key=len).lstrip("-").replace("-", "_").lower()
        raise ConfigError(rest, field=field)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a word that is left over is an error of the command that it was given to."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            word = str(left[0]).partition("=")[0]
            options = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(f"unrecognized arguments: {' '.join(map(str, left))[:200]}{meant(word, options)}")
        return found, left

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        allowed = ", ".join(names) if len(names) <= _SHOWN_CHOICES else f"see {self.prog} --help"
        raise argparse.ArgumentError(action, f"there is no {str(value)[:60]!r}{meant(str(value), names)}: {allowed}")

    def format_help(self) -> str:
        words = self.prog.partition(" ")[2]
        found = examples_of(words) if words and self.epilog is None else []
        text = super().format_help()
        return "\n".join([text.rstrip(), "", "examples:", *(f"  {one}" for one in found), ""]) if found else text


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """The commands: what each does is in the table, not in its module."""

    def add_parser(self, name: str, **kwargs: Any) -> Any:
        if (row := BY_NAME.get(name)) is not None:
            kwargs = {**kwargs, "help": row.line, "description": kwargs.get("description", _sentence(row.line))}
        return super().add_parser(name, **kwargs)


class _Actions(argparse._SubParsersAction):  # type: ignore[type-arg]
    """The actions of one command: what each does is also the first line of its own help."""

    def add_parser(self, name: str, **kwargs: Any) -> Any:
        if text := kwargs.get("help"):
            kwargs.setdefault("description", _sentence(text))
        return super().add_parser(name, **kwargs)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def help_width() -> int:
    """Columns of help: the window's, within bounds."""
    return max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))


def meant(word: str, names: Iterable[str]) -> str:
    """', did you mean ...?' where one of `names` is close to `word`; else nothing."""
    import difflib

    close = difflib.get_close_matches(word[:60], list(names), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def parser(only: str | None = None) -> Parser:
    """The parser of all commands, or of one; each sets `run` to the function that carries it out."""
    top = Parser(prog="folkmoot", description="A peer-to-peer network for verified inference.")
    commands: Any = top.add_subparsers(dest="command", required=True, metavar="COMMAND", action=_Commands)
    rows = COMMANDS if only is None else (BY_NAME[only],)
    for module in dict.fromkeys(row.module for row in rows):
        importlib.import_module(f"p2p.cli.{module}").register(commands)
    for command in commands.choices.values():
        _add_json(command, top_level=True)
    return top


def _add_json(command: argparse.ArgumentParser, *, top_level: bool) -> None:
    """Each command, and each of its actions, takes --json."""
    if "--json" not in command._option_string_actions:
        default = False if top_level else argparse.SUPPRESS  # an action must not undo what the command was given
        command.add_argument("--json", action="store_true", default=default, help="print JSON (folkmoot help json)")
    for action in actions_of(command).values():
        _add_json(action, top_level=False)


def actions_of(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The actions of a command, by name; empty where it has none."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of the command that `words` begin with. Raises ConfigError naming what is wrong."""
    if words[0] not in BY_NAME:
        what = f"there is no command {words[0][:60]!r}{meant(words[0], BY_NAME)}"
        raise ConfigError(f"{what}; folkmoot --help lists all", field="command")
    return parser(words[0]).parse_args(words)


def overview() -> str:
    """The help of `folkmoot` itself: every command, by group. Loads no command."""
    lines = ["usage: folkmoot COMMAND [OPTION ...]", "", "A peer-to-peer network for verified inference."]
    width = max(len(row.name) for row in COMMANDS) + 2
    for group, about in GROUPS.items():
        lines += ["", f"{group}: {about}"]
        lines += [f"  {row.name:{width}}{row.line}" for row in COMMANDS if row.group == group]
    lines += [
        "", "folkmoot COMMAND --help   options and examples of one command",
        "folkmoot help TOPIC       begin, money, peers, host, proofs, environment, json, exit-codes",
        "every command takes --json; its errors are then JSON too",
    ]
    return fit("\n".join(lines), help_width())
