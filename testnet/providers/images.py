"""The images that containers run: made from the repository's Containerfile when they are missing.

Law: an image is named after what it is made of, so a changed Containerfile or dependency makes a new one. The program
itself is not in it that a test network runs: the checkout is laid over it.

The base image is pulled; where no registry can be reached, Debian's own debootstrap makes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from p2p.base.errors import ConfigError, Unavailable

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"
BASE, LOCAL_BASE = "docker.io/library/debian:bookworm-slim", "localhost/folkmoot-base:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_S, BUILD_S = 120.0, 1800.0
PACKAGES = "python3,python3-venv,ca-certificates,iproute2"


def _tag() -> str:
    """Of what the images are made of: the Containerfile, and what the program depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    depends = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    made_of = CONTAINERFILE.read_bytes() if CONTAINERFILE.exists() else b""
    return sha256(made_of + "\n".join(depends).encode()).hexdigest()[:12]


PEER, ENGINE = f"localhost/folkmoot-peer:{_tag()}", f"localhost/folkmoot-engine:{_tag()}"


def prepare(cli: str, *, engines: bool, say: Callable[[str], None] = print) -> None:
    """Make the images that are missing. Raises ConfigError, Unavailable."""
    wanted = {PEER: "peer", **({ENGINE: "engine"} if engines else {})}
    for image, target in wanted.items():
        if _there(cli, image):
            continue
        base = _base(cli, say)
        size = "600 MB to download, several minutes" if target == "engine" else "100 MB to download, two minutes"
        say(f"building the image of a {target} ({size})")
        _run(
            [cli, "build", "--network", "host", "--target", target, "--tag", image, "--build-arg", f"BASE={base}",
             *_own_pip(cli), "--file", str(CONTAINERFILE), str(ROOT)], BUILD_S,
            f"the image of a {target} could not be built",
        )


def _own_pip(cli: str) -> list[str]:
    """Let the build use what pip uses on this machine: certificates of a proxy's own CA, a folder of wheels."""
    if cli != "podman":
        return []  # docker's builds mount no folders
    words, wheels = [], os.environ.get("PIP_FIND_LINKS", "")
    if CERTIFICATES.exists():
        folder = CERTIFICATES.parent
        words += ["--volume", f"{folder}:{folder}:ro", "--build-arg", f"PIP_CERT={CERTIFICATES}"]
    if wheels and Path(wheels).is_dir():
        words += ["--volume", f"{wheels}:{wheels}:ro", "--build-arg", f"PIP_FIND_LINKS={wheels}",
                  "--build-arg", "PIP_EXTRA_INDEX_URL="]
    return words


def _there(cli: str, image: str) -> bool:
    return subprocess.run([cli, "image", "inspect", image], capture_output=True, check=False).returncode == 0


def _base(cli: str, say: Callable[[str], None]) -> str:
    """The base image: a local one that was made before, a pulled one, or one made now."""
    if _there(cli, LOCAL_BASE):
        return LOCAL_BASE
    if _there(cli, BASE):
        return BASE
    say(f"pulling {BASE}")
    try:
        pulled = subprocess.run([cli, "pull", BASE], capture_output=True, timeout=PULL_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        pulled = False
    if pulled:
        return BASE
    if shutil.which("debootstrap") is None:
        raise ConfigError(
            f"{BASE} cannot be pulled here, and debootstrap, which would make it, is missing "
            "(Debian: apt install debootstrap)", field="provider",
        )
    say("no registry can be reached: debootstrap makes the base image (a minute)")
    with tempfile.TemporaryDirectory(prefix="folkmoot-base-") as place:
        root = Path(place) / "root"
        _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)], BUILD_S,
             "debootstrap failed")
        packed = Path(place) / "root.tar"
        _run(["tar", "-C", str(root), "-cf", str(packed), "."], BUILD_S, "the base image could not be packed")
        _run([cli, "import", str(packed), LOCAL_BASE], BUILD_S, "the base image could not be imported")
    return LOCAL_BASE


def _run(command: list[str], seconds: float, wrong: str) -> None:
    """Raises Unavailable with `wrong` and the end of what the command printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
    if done.returncode:
        raise Unavailable(f"{wrong}:\n{done.stdout.decode(errors='replace')[-2000:]}", field="provider")
