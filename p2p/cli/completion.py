"""completion: words that may come next, for bash, zsh and fish.

Law: the shells' scripts are short and ask this program, so that all three know the same; nothing is asked of a network.
Names of models and peers come from files in the client's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError, FolkmootError
from p2p.cli.arguments import default_dir
from p2p.cli.commands import BY_NAME, COMMANDS
from p2p.cli.output import show
from p2p.cli.parsing import actions_of, parser

BASH = """\
_folkmoot() {
  local IFS=$'\\n' found
  found=$(folkmoot completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)
  COMPREPLY=($found)
  [ "${#COMPREPLY[@]}" -gt 0 ] || compopt -o default
}
complete -F _folkmoot folkmoot
"""
ZSH = """\
#compdef folkmoot
_folkmoot() {
  local -a found
  local word about
  while IFS=$'\\t' read -r word about; do
    found+=("${word//:/\\\\:}:$about")
  done < <(folkmoot completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#found} )); then _describe folkmoot found; else _files; fi
}
compdef _folkmoot folkmoot
"""
FISH = """\
function __folkmoot_words
  set -l words (commandline -opc) (commandline -ct)
  folkmoot completion words -- $words[2..-1] 2>/dev/null
end
complete -c folkmoot -a '(__folkmoot_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
MAX_NAMES = 200  # of one kind
Word = tuple[str, str]  # what is typed, and what it means


def register(commands: Any) -> None:
    command = commands.add_parser("completion")
    command.add_argument(
        "shell", choices=(*SCRIPTS, "words"), help="print the script of this shell; words: what may come next",
    )
    command.add_argument("words", nargs="*", metavar="WORD", help="of `words`: the command line, the last one begun")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.shell == "words":
        for word, about in candidates(options.words or [""]):
            print(f"{word}\t{about}")
        return 0
    if options.words:
        raise ConfigError("give the shell alone", field="words")
    script = SCRIPTS[options.shell]
    show(options, {"shell": options.shell, "script": script}, lambda: script.rstrip())
    return 0


def candidates(words: Sequence[str]) -> list[Word]:
    """What may stand in place of the last word, which is begun."""
    *before, begun = words
    if not before:
        found: Iterable[Word] = [(row.name, row.line) for row in COMMANDS] + [("--help", "all commands")]
    elif before[0] not in BY_NAME:
        return []
    elif before[0] == "help":
        found = _help(before[1:])
    else:
        found = _in_command(before, begun)
    return list(dict.fromkeys((word, about) for word, about in found if word.startswith(begun)))


def _help(before: Sequence[str]) -> list[Word]:
    from p2p.cli.help_command import schema_names, topics

    if not before:
        return [(name, "topic") for name in topics()] + [(row.name, row.line) for row in COMMANDS]
    if before[0] == "json":
        given = "_".join(before[1:])
        names = [name.split("_") for name in schema_names()]
        return [(name[len(before) - 1], "schema") for name in names
                if "_".join(name[: len(before) - 1]) == given and len(name) >= len(before)]
    return []


def _in_command(before: Sequence[str], begun: str) -> list[Word]:
    command: argparse.ArgumentParser = actions_of(parser(before[0]))[before[0]]
    place, waits_for = 0, None  # positional words so far; the option whose value comes next
    for word in before[1:]:
        if waits_for is not None:
            waits_for = None
        elif word in (actions := actions_of(command)):
            command, place = actions[word], 0
        elif word.startswith("-") and word != "--":
            option = command._option_string_actions.get(word.partition("=")[0])
            takes = option is not None and option.nargs != 0 and "=" not in word
            waits_for = option if takes else None
        else:
            place += 1
    directory = _directory(before)
    if waits_for is not None:
        return _values(waits_for, directory)
    if begun.startswith("-") or not (actions := actions_of(command)):
        positional = [one for one in command._actions if not one.option_strings and one.dest != "action"]
        values = _values(positional[place], directory) if place < len(positional) and not begun.startswith("-") else []
        return values + (_options(command) if begun.startswith("-") or not positional[place:] else [])
    return [(name, (one.description or "").rstrip(".")) for name, one in actions.items()]


def _options(command: argparse.ArgumentParser) -> list[Word]:
    found = []
    for action in command._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        found += [(names[0], (action.help or "").replace("%(default)s", str(action.default)))] if names else []
    return found


def _values(action: argparse.Action, directory: Path) -> list[Word]:
    """Values of an option or a positional word, as far as files know them."""
    if action.choices is not None:
        return [(str(choice), "") for choice in action.choices]
    if action.dest == "model" and action.metavar == "NAME":
        return [(name, "model of the network") for name in models(directory)]
    if action.dest == "peer" and action.metavar == "MULTIADDR":
        return [(address, "from config.toml") for address in _peers(directory)]
    if action.dest == "session":
        names = sorted(file.stem for file in (directory / "sessions").glob("*.json"))
        return [(name, "conversation") for name in names[:MAX_NAMES]]
    if action.dest == "network" and action.metavar in ("FILE", "TOML"):
        return [(name, "network's file") for name in networks(directory)]
    if action.dest == "target":
        from p2p.joining.target import shipped

        return [(name, "network") for name in sorted(shipped())[:MAX_NAMES]]
    if action.dest == "manifest":
        return [(name, "shipped manifest") for name in _manifests()]
    return []


def _directory(before: Sequence[str]) -> Path:
    for word, after in zip(before, [*before[1:], ""], strict=True):
        if word == "--dir" and after:
            return Path(after)
        if word.startswith("--dir="):
            return Path(word.partition("=")[2])
    return default_dir()


def models(directory: Path) -> list[str]:
    """Names of the models in the folder's genesis file."""
    from p2p.base.genesis import load_genesis

    try:
        return [spec.model for spec in load_genesis(directory / "genesis.cbor").models[:MAX_NAMES]]
    except FolkmootError:
        return []


def networks(directory: Path) -> list[str]:
    """Files of networks, beside the folder's settings and in the working folder."""
    found = [*directory.glob("*.toml"), *Path().glob("*.toml")]
    return [str(file) for file in found if file.name not in ("config.toml", "lab.toml", "pyproject.toml")][:MAX_NAMES]


def _peers(directory: Path) -> tuple[str, ...]:
    from p2p.client.settings import configured_peers

    try:
        return configured_peers(directory)[:MAX_NAMES]
    except FolkmootError:
        return ()


def _manifests() -> list[str]:
    from testnet.manifest.reading import shipped

    return sorted(shipped())[:MAX_NAMES]
