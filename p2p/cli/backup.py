"""backup, restore, store: copies of a peer's folder, their way back, and stores of older programs.

Law: thin. A running peer is copied at one moment; nothing here overwrites a file or a store.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from p2p.cli.arguments import default_dir
from p2p.cli.output import aligned, show


def register(commands: Any) -> None:
    backup = commands.add_parser("backup")
    backup.add_argument("file", type=Path, metavar="FILE", help="the new file; an existing one is never overwritten")
    backup.add_argument("--keys", action="store_true", help="with node.key and account.key: keep the file like these")
    _dir(backup)
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser("restore")
    restore.add_argument("file", type=Path, metavar="FILE", help="a backup that `folkmoot backup` made")
    restore.add_argument("dir", type=Path, metavar="DIR", help="a folder without a store; node.key may be there")
    restore.set_defaults(run=run_restore)
    store = commands.add_parser("store")
    actions = store.add_subparsers(dest="action", required=True, metavar="ACTION")
    forward = actions.add_parser("migrate", help="bring a store of an older program forward, after a backup")
    forward.add_argument("--dry-run", action="store_true", help="only say what would be done")
    forward.add_argument(
        "--backup", type=Path, metavar="FILE", help="the backup made before (default: DIR/before-SCHEMA.backup)",
    )
    _dir(forward)
    forward.set_defaults(run=run_migrate)


def _dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)",
    )


def run_backup(options: argparse.Namespace) -> int:
    from p2p.peer.backup import make_backup

    made = make_backup(options.dir, options.file, with_keys=options.keys)
    said = {
        "file": str(options.file), "node": made.node, "schema": made.schema, "keys": "yes" if made.has_keys else "no",
        "bytes": options.file.stat().st_size,
    }
    show(options, said, lambda: aligned({name: str(value) for name, value in said.items()}, 8))
    return 0


def run_restore(options: argparse.Namespace) -> int:
    from p2p.base.files import keep_private
    from p2p.peer.backup import restore

    keep_private()
    made = restore(options.file, options.dir)
    said = {
        "dir": str(options.dir), "node": made.node, "schema": made.schema,
        "next": "stop every other peer with this key, then: folkmoot serve --dir " + str(options.dir),
    }
    show(options, said, lambda: aligned({name: str(value) for name, value in said.items()}, 8))
    return 0


def run_migrate(options: argparse.Namespace) -> int:
    from p2p.peer.backup import bring_forward

    schema, goal, said = bring_forward(options.dir, options.backup, dry_run=options.dry_run)
    answer = {"from": schema, "to": goal, "dry_run": options.dry_run, "steps": said}
    show(options, answer, lambda: "\n".join(said))
    return 0
