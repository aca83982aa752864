"""The pages' own files. Law: read once, from a fixed list; no path of a visitor reaches the disk.

Nothing is loaded from elsewhere and no script is inline: the policy in HEADERS says so to the browser.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"), (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_KINDS = {
    "html": b"text/html; charset=utf-8", "css": b"text/css; charset=utf-8", "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_LEAST = 1024  # bytes from which on a file is worth compressing


@dataclass(frozen=True, slots=True)
class File:
    """One file, ready to send."""

    body: bytes
    packed: bytes | None  # gzip; None where that gains nothing
    kind: bytes
    tag: str


def load_files() -> dict[str, File]:
    """path below /explorer/ or /chat/ -> file."""
    found: dict[str, File] = {}
    _walk(files("p2p.explorer") / "pages", "", found)
    return found


def _walk(folder: Traversable, path: str, found: dict[str, File]) -> None:
    for entry in folder.iterdir():
        name = f"{path}{entry.name}"
        if entry.is_dir():
            _walk(entry, f"{name}/", found)
        elif (kind := _KINDS.get(name.rpartition(".")[2])) is not None:
            body = entry.read_bytes()
            packed = gzip.compress(body, 9, mtime=0) if len(body) >= _LEAST else None
            found[name] = File(body, packed, kind, f'"{sha256(body).hexdigest()[:24]}"')
