"""Reads a manifest from a file or text.

Law: what is wrong is a ConfigError that names the file, the line and the key.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from p2p.base.errors import ConfigError
from p2p.base.files import exists, read_file
from p2p.base.limits import KIB
from testnet.manifest.lines import Path as KeyPath
from testnet.manifest.lines import line_of, parse_path
from testnet.manifest.model import Manifest
from testnet.manifest.rules import broken

MAX_MANIFEST = 256 * KIB
SHIPPED = Path(__file__).parent / "shipped"
_UNKNOWN = re.compile(r"unknown field `(\w+)`")
_MISSING = re.compile(r"missing required field `(\w+)`")
_LINE = re.compile(r"\(at line (\d+)")


def shipped() -> dict[str, Path]:
    """Name -> file of the manifests that come with the program."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.toml"))}


def find(name_or_file: str) -> Path:
    """The file that a user means: a shipped manifest's name, or a path. Raises ConfigError that lists the names."""
    known = shipped()
    if name_or_file in known:
        return known[name_or_file]
    if exists(Path(name_or_file)):
        return Path(name_or_file)
    raise ConfigError(f"there is no file {name_or_file}, and shipped are {', '.join(known)}", field="manifest")


def read_manifest(file: Path) -> Manifest:
    """Raises ConfigError."""
    raw = read_file(file, MAX_MANIFEST, field="manifest")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})", field="manifest") from error
    return parse(text, str(file))


def parse(text: str, where: str = "manifest") -> Manifest:
    """A checked manifest. where: names the text in errors. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = _LINE.search(str(error))
        raise _error(where, int(at[1]) if at else 1, "", f"not TOML: {str(error).partition(' (at')[0]}") from error
    try:
        manifest = msgspec.convert(table, Manifest)
    except msgspec.ValidationError as error:
        what, _, at_path = str(error).partition(" - at ")
        path = parse_path(at_path.strip("`"))
        if unknown := _UNKNOWN.search(what):
            path, what = (*path, unknown[1]), "there is no such key here"
        elif missing := _MISSING.search(what):
            what = f"{missing[1]} is missing"
        raise _error(where, line_of(text, path), _key(path), what.replace("`", "")) from error
    from p2p.lab import attacks

    for path, sentence in broken(manifest, frozenset(attacks.load())):
        raise _error(where, line_of(text, path), _key(path), sentence)
    return manifest


def _key(path: KeyPath) -> str:
    """The last key of a path, as the user wrote it."""
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _error(where: str, line: int, key: str, sentence: str) -> ConfigError:
    return ConfigError(f"{where}, line {line}: {key + ': ' if key else ''}{sentence}", field="manifest")
