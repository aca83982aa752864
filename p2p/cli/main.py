"""The command `folkmoot`: parses the words, runs one command, turns its error into one line and an exit status.

Law: thin. A command imports what it needs when it runs. Whatever a user or a peer gives it ends in one clear line and
an exit status, never in a traceback, and all that is printed passes machine/foreign_text.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from p2p.base.errors import ConfigError, FolkmootError, Overloaded
from p2p.cli import (
    account,
    ask,
    attack,
    calibrate,
    doctor,
    earnings,
    explorer,
    gateway,
    governance,
    lab_peer,
    local,
    ml,
    model,
    prove,
    serve,
    simulate,
    testnet,
    verify_header,
    verify_inference,
)
from p2p.machine.foreign_text import Guarded, line

INTERRUPTED = 130  # exit status on Ctrl-C
NOBODY_READS = 141  # as a shell names the end by SIGPIPE
BUG = 70
_COMMANDS = (
    local, doctor, serve, lab_peer, ask, gateway, explorer, earnings, verify_inference, verify_header, prove, attack,
    calibrate, testnet, account, governance, model, simulate, ml,
)


class Parser(argparse.ArgumentParser):
    """Words that do not fit are errors like any other: one line with the option's name, or JSON."""

    def error(self, message: str) -> NoReturn:
        name, found, rest = message.removeprefix("argument ").partition(": ")
        if not found or not message.startswith("argument "):
            raise ConfigError(f"{message}; see {self.prog} --help", field="command")
        options = [word.strip().split(" ")[0] for word in name.split("/")]
        field = max(options, key=len).lstrip("-").replace("-", "_").lower()
        raise ConfigError(rest, field=field)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run` to the function that carries it out."""
    top = Parser(prog="folkmoot", description="A peer-to-peer network for verified inference.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.register(commands)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit status is the error's, INTERRUPTED, or NOBODY_READS when the output was closed."""
    words = list(sys.argv[1:] if argv is None else argv)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Guarded(out), Guarded(err)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        with suppress(OSError, ValueError):  # else Python tries once more at its end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return NOBODY_READS
    finally:
        sys.stdout, sys.stderr = out, err


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    try:
        options = parser().parse_args(words)
        return int(options.run(options) or 0)
    except FolkmootError as error:
        _complain(error, as_json)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # the edge of the command line: a user sees a sentence, and the traceback on request
        if os.environ.get("FOLKMOOT_TRACE"):
            traceback.print_exc()
        what = f"a fault of this program, {type(error).__name__}: {line(str(error), 200)}"
        advice = "please report it (FOLKMOOT_TRACE=1 shows where it happened)"
        _complain(FolkmootError(f"{what}; {advice}", code="internal"), as_json)
        return BUG


def _complain(error: FolkmootError, as_json: bool) -> None:
    """Print an error on one line of standard error. Parts of it may be a peer's words."""
    if as_json:
        body: dict[str, Any] = {"code": error.code, "field": error.field, "message": error.message}
        if isinstance(error, Overloaded):
            body["retry_after"] = error.retry_after
        print(json.dumps({"error": body}), file=sys.stderr)
    else:
        print(f"error: {line(str(error), 2000)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
