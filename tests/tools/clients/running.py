"""Runs one client's script against a gateway and collects what it says of itself.

Law: a script has a time limit, a home folder of its own that is thrown away, and no way to any host but the gateway.
It prints one JSON line a case (scripts/cases.py); a script that ends in any other way is a failed case 'run'.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.tools.clients.environments import Environment
from tests.tools.clients.matrix import Client
from tests.tools.clients.recorder import Recorder, Seen

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = Path(__file__).parent / "scripts"
CASE = "CASE "  # begins a line of standard output that is a result
MOST_OUTPUT = 4 * 1024 * 1024  # bytes of a script's output that are read
END_S = 5.0  # between SIGTERM and SIGKILL
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TERM", "SSL_CERT_FILE")  # of our environment


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked. url: http://HOST:PORT, without /v1."""

    url: str
    key: str
    model: str
    model_folder: str = ""  # of the tokenizer, for benchmarks that count tokens themselves; "" where it is not known


@dataclass(frozen=True, slots=True)
class Result:
    """One case of one client. ok: None where it cannot be run here, with the reason in `detail`."""

    client: str
    version: str
    case: str
    ok: bool | None
    detail: str

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def run(
    client: Client, environment: Environment, target: Target, recorder: Recorder, *, log: Path,
) -> tuple[list[Result], list[Seen]]:
    """The cases of one client, and the requests that it made. log: gets everything that the script printed."""
    recorder.take()
    with tempfile.TemporaryDirectory(prefix="folkmoot-client-") as home:
        script = _script(client, environment)
        env = environment_of(environment, target, recorder.url, Path(home))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            child = subprocess.Popen(
                [*environment.program, str(script)], cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )
            late = not _wait(child, client.limit_s)
    text = log.read_bytes()[-MOST_OUTPUT:].decode(errors="replace").replace(f"{ROOT}/", "")
    results = [Result(client.name, environment.version, *found) for found in cases(text.splitlines())]
    if late or child.returncode or not results:
        why = f"it was not done in {client.limit_s:.0f} s" if late else f"it ended with {child.returncode}"
        results.append(Result(client.name, environment.version, "run", False, f"{why}: {tail(text)}"))
    return results, recorder.take()


def environment_of(environment: Environment, target: Target, url: str, home: Path) -> dict[str, str]:
    """All environment variables of a script. url: of the recorder, which is the gateway and the proxy for it."""
    ours = {name: os.environ[name] for name in KEPT if name in os.environ}
    path = os.pathsep.join([*environment.path, ours.get("PATH", os.defpath)])
    return {
        **ours, "PATH": path, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"), "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
        "GATEWAY_URL": url, "GATEWAY_KEY": target.key, "GATEWAY_MODEL": target.model,
        "GATEWAY_MODEL_FOLDER": target.model_folder, "CLIENT_FOLDER": str(environment.folder),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), url),
        "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "CI": "1",
    }


def _script(client: Client, environment: Environment) -> Path:
    """The script's path; one of Node is copied to its packages, because only beside them it finds them."""
    if not client.script.endswith(".mjs"):
        return SCRIPTS / client.script
    for name in ("cases.mjs", client.script):
        shutil.copy(SCRIPTS / name, environment.folder / name)
    return environment.folder / client.script


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Wait for the script's end, and end all of its process group. Returns whether it ended by itself in time."""
    try:
        child.wait(timeout=limit_s)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, sign)
                child.wait(timeout=END_S)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def cases(lines: Iterable[str]) -> list[tuple[str, bool | None, str]]:
    """(case, ok, detail) of each line that is a result; other lines are the client's own words."""
    found = []
    for line in lines:
        if not line.startswith(CASE):
            continue
        try:
            said: Any = json.loads(line.removeprefix(CASE))
            ok = said["ok"]
            found.append((str(said["case"]), None if ok is None else bool(ok), str(said["detail"])))
        except (ValueError, KeyError, TypeError):
            found.append(("run", False, f"a line that is no result: {line[:200]}"))
    return found


def tail(text: str) -> str:
    """The last lines of an output, for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(CASE)]
    return " | ".join(lines[-4:])[-400:]
