"""From what a user typed to a manifest and options. Law: what does not fit is a ConfigError before anything starts."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from msgspec.structs import replace

from p2p.base.errors import ConfigError
from testnet.manifest.model import Manifest
from testnet.manifest.reading import find, read_manifest
from testnet.runs.run import Options

ROOT = Path(__file__).parents[2]
GIT_S = 60.0


def chosen(
    manifest: str, *, directory: Path | None, provider: str | None, seed: int | None, seconds: float | None,
    previous: str | None, source: Path | None,
) -> tuple[Manifest, Options]:
    """None: as the manifest says. Raises ConfigError."""
    read = read_manifest(find(manifest))
    if seed is not None:
        read = replace(read, seed=seed)
    if seconds is not None:
        read = shortened(read, seconds)
    where = directory or Path(".testnet") / read.name
    old = source_of(previous) if previous is not None else None
    return read, Options(where, provider or "", source.resolve() if source else None, old)


def shortened(manifest: Manifest, seconds: float) -> Manifest:
    """With so many seconds of load, and only the perturbations that are over by then."""
    if seconds < 1:
        raise ConfigError("give at least one second", field="seconds")
    kept = tuple(one for one in manifest.perturbations if one.at_s + (one.for_s or 0.0) < seconds)
    return replace(manifest, seconds=seconds, perturbations=kept)


def source_of(previous: str) -> Path:
    """The source of a release: a folder, or a revision of this repository that is unpacked to a new folder."""
    if Path(previous, "p2p").is_dir():
        return Path(previous).resolve()
    place = Path(tempfile.mkdtemp(prefix="folkmoot-previous-"))
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", previous, "p2p", "testnet", "bootstrap"], capture_output=True,
        timeout=GIT_S, check=False,
    )
    if packed.returncode:
        said = packed.stderr.decode(errors="replace").strip()
        raise ConfigError(f"{previous} is neither a folder with the source nor a revision: {said}", field="previous")
    subprocess.run(["tar", "-C", str(place), "-x"], input=packed.stdout, timeout=GIT_S, check=True)
    return place
