"""The command `folkmoot`. Law: thin; imports what a command needs inside the command; one clear error line and an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2p.cli import account, ask, attack, calibrate, earnings, governance, local, prove, serve, simulate, testnet, verify, verify_inference
from p2p.errors import FolkmootError, Overloaded


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="folkmoot", description="A peer-to-peer network for verified inference.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (local, serve, ask, earnings, verify_inference, verify, prove, attack, calibrate, testnet, account, governance, simulate):
        module.register(commands)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is the error's, 130 on Ctrl-C."""
    options = parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except FolkmootError as error:
        _complain(error, options.json)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


def _complain(error: FolkmootError, as_json: bool) -> None:
    if as_json:
        body: dict[str, Any] = {"code": error.code, "field": error.field, "message": error.message}
        if isinstance(error, Overloaded):
            body["retry_after"] = error.retry_after
        print(json.dumps({"error": body}), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)


def default_directory() -> Path:
    return Path.home() / ".folkmoot"


if __name__ == "__main__":
    sys.exit(main())
