"""config: check a peer's settings, or show each value with where it comes from.

Law: files only; what is shown is what `folkmoot serve` with the same options would use.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.cli.arguments import default_dir
from p2p.cli.output import show
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.peer.config import NodeConfig

# settings that an environment variable sets where no option does
ENVIRONMENT = {"log_level": "FOLKMOOT_LOG_LEVEL", "log_format": "FOLKMOOT_LOG_FORMAT"}
# settings that an option of `serve` replaces, where the names differ
_OPTIONS = {"model_path": "model", "engine_flags": "engine_flag"}
_MAX_VALUE = 400


def register(commands: Any) -> None:
    command = commands.add_parser("config")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (("check", "read config.toml, and compare it with genesis.cbor"), ("show", "every setting")):
        action = actions.add_parser(name, help=text)
        action.add_argument(
            "--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)",
        )
        action.add_argument(
            "options", nargs="*", metavar="-- OPTIONS", help="options of `folkmoot serve` that shall count too",
        )
        action.set_defaults(run=run)
        if name == "show":
            action.add_argument(
                "--origin", action="store_true", help="say of each: default, line of config.toml, option, environment",
            )


def run(options: argparse.Namespace) -> int:
    config, origins = _read(options.dir, options.options)
    if options.action == "check":
        return _check(options, config)
    from msgspec import to_builtins

    values: dict[str, Any] = to_builtins(config, enc_hook=str)
    del values["directory"]
    rows = {name: {"value": value, "origin": origins[name]} for name, value in sorted(values.items())}
    data = rows if options.origin else {name: row["value"] for name, row in rows.items()}
    show(options, data, lambda: "\n".join(_row(name, row, options.origin) for name, row in rows.items()))
    return 0


def _check(options: argparse.Namespace, config: NodeConfig) -> int:
    """Raises ConfigError where the settings do not fit the genesis file."""
    from p2p.base.files import exists
    from p2p.base.genesis import load_genesis
    from p2p.peer.config import check_network

    file = options.dir / "genesis.cbor"
    network = config.network or "any network"
    if exists(file):
        genesis = load_genesis(file)
        check_network(config, genesis)
        network = genesis.network
    found = {"ok": True, "file": str(options.dir / "config.toml"), "network": network}
    show(options, found, lambda: f"{found['file']} is good, for {network}")
    return 0


def _row(name: str, row: dict[str, Any], with_origin: bool) -> str:
    value = line(json.dumps(row["value"]), _MAX_VALUE)
    return f"{name:26} {value}" + (f"\n{'':26} # {row['origin']}" if with_origin else "")


def _read(directory: Path, words: list[str]) -> tuple[NodeConfig, dict[str, str]]:
    """(the settings, by name where each comes from). words: options of serve. Raises ConfigError."""
    from p2p.cli.parsing import Parser
    from p2p.cli.serve import add_options, read_config
    from p2p.peer.config import SETTINGS

    parser = Parser(prog="folkmoot serve", add_help=False)
    add_options(parser)
    try:
        given = parser.parse_args(["--dir", str(directory), *words])
    except ConfigError as error:
        raise ConfigError(f"no good option of `folkmoot serve`: {error}", field="options") from error
    config = read_config(given)
    lines = _lines(directory / "config.toml")
    origins = {}
    for name in SETTINGS:
        option = getattr(given, _OPTIONS.get(name, name), None)
        variable = ENVIRONMENT.get(name, "")
        if option not in (None, []) or (name == "engine_flags" and config.engine_flags and "engine_flags" not in lines):
            origins[name] = "option --" + _OPTIONS.get(name, name).replace("_", "-")
        elif os.environ.get(variable):
            origins[name] = f"environment {variable}"
        elif name in lines:
            origins[name] = f"config.toml, line {lines[name]}"
        else:
            origins[name] = "default"
    return config, origins


def _lines(file: Path) -> dict[str, int]:
    """By setting: the line of a TOML file at which its value begins. Only whole statements count, so a name within a
    text or a list is none."""
    import tomllib

    found: dict[str, int] = {}
    rows = file.read_text(encoding="utf-8-sig").splitlines()
    begun, inside = 0, False  # lines of whole statements; whether a table has begun
    for at, row in enumerate(rows, 1):
        part = "\n".join(rows[begun:at])
        try:
            table = tomllib.loads(part)
        except tomllib.TOMLDecodeError:
            continue  # the statement goes on in the next line
        for name in table:
            if not inside:
                found.setdefault(name, begun + 1)
        inside = inside or row.strip().startswith("[")
        begun = at
    return found
