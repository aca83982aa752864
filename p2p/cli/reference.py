"""The parts of docs/commands.md that are made from the code: `python -m p2p.cli.reference docs/commands.md`.

Law: what stands between two marks of the page is written by this file alone; a test compares.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from p2p.cli.commands import COMMANDS, GROUPS
from p2p.cli.exit_codes import as_markdown
from p2p.cli.parsing import actions_of, parser

MOST = 8  # options that are named; --help has all
_PART = re.compile(r"(<!-- made: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.S)


def parts() -> dict[str, str]:
    """Name of a mark -> what stands there."""
    return {"commands": _commands(), "exit-codes": as_markdown() + "\n"}


def _commands() -> str:
    known = actions_of(parser())
    lines = []
    for group, about in GROUPS.items():
        lines += [f"### {group[0].upper()}{group[1:]}: {about}", "", "| command | does |", "|---|---|"]
        for row in (row for row in COMMANDS if row.group == group):
            actions = ", ".join(f"`{name}`" for name in actions_of(known[row.name]))
            names = _options(known[row.name])
            options = ", ".join(f"`{name}`" for name in names[:MOST]) + (", ..." if len(names) > MOST else "")
            more = f" Actions: {actions}." if actions else f" ({options})" if options else ""
            end = "." if actions and not row.line.endswith(".") else ""
            lines.append(f"| `folkmoot {row.name}` | {row.line}{end}{more} |")
        lines.append("")
    return "\n".join(lines)


def _options(command: argparse.ArgumentParser) -> list[str]:
    """Its own options, without those that nearly every command has."""
    names = [one.option_strings[-1] for one in command._actions if one.option_strings]
    return [name for name in names if name not in ("--help", "--json", "--dir")]


def filled(page: str) -> str:
    """The page with its parts made anew."""
    made = parts()
    return _PART.sub(lambda found: f"{found[1]}{made[found[2]]}{found[4]}", page)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(filled(file.read_text()))
