"""What every script here shares: one JSON line a case. It runs inside the clients' own environments, so it imports
nothing but the standard library."""

from __future__ import annotations

import json
import os
import subprocess
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

URL = os.environ["GATEWAY_URL"]  # without /v1
BASE = URL + "/v1"
BUSY = URL + "/busy"  # answers the first request of each path with 429
KEY = os.environ["GATEWAY_KEY"]
MODEL = os.environ["GATEWAY_MODEL"]
MODEL_FOLDER = os.environ["GATEWAY_MODEL_FOLDER"]
HOME = Path(os.environ["HOME"])

# A tool and a schema whose every answer is short: the grammar lets nothing else through, so the smallest model obeys.
CITIES = ["Paris", "London", "Rome"]
PLACE: dict[str, Any] = {
    "type": "object", "properties": {"city": {"type": "string", "enum": CITIES}}, "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "The weather in a city", "parameters": PLACE}


class Unable(Exception):
    """The case cannot be run here; the text says why. It counts neither for nor against the gateway."""


def say(case: str, ok: bool | None, detail: str) -> None:
    print("\nCASE " + json.dumps({"case": case, "ok": ok, "detail": detail}), flush=True)


def case(name: str) -> Callable[[Callable[[], object]], None]:
    """Runs the decorated function at once. What it returns is the detail; an exception is a failure."""

    def run(check: Callable[[], object]) -> None:
        try:
            said = check()
            say(name, True, str(said or "")[:300])
        except Unable as reason:
            say(name, None, str(reason)[:600])
        except Exception as error:  # the edge of the run: whatever a client raises is its result
            traceback.print_exc()
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error) or f"line {where.lineno}: {where.line}"
            say(name, False, f"{type(error).__name__}: {text}"[:600])

    return run


def raises(kind: type[BaseException], call: Callable[[], object]) -> BaseException:
    """The exception of this kind that `call` raises. AssertionError where it does not."""
    try:
        said = call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {str(said)[:200]}")


def command(argv: list[str], *, limit_s: float = 200.0, text: str | None = None, **environment: str) -> str:
    """What a program printed, standard error included. AssertionError where it fails or takes longer than limit_s."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=limit_s, check=False, env={**os.environ, **environment},
            input=text, **({"stdin": subprocess.DEVNULL} if text is None else {}),
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"") + (error.stderr or b"")
        print(said.decode(errors="replace"))
        raise AssertionError(f"{argv[0]} was not done in {limit_s:.0f} s: {said[-300:]!r}") from None
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
    return done.stdout + done.stderr


def seen(path: str = "") -> list[dict[str, Any]]:
    """What the client has asked the gateway so far (recorder.Seen): of one path, or everything."""
    with urllib.request.urlopen(URL + "/seen", timeout=10) as answer:  # the gateway itself is never asked this
        found = json.loads(answer.read())
    return [one for one in found if not one["outside"] and one["path"] == (path or one["path"])]


def asked(path: str) -> str:
    """Says how often `path` was asked and answered. AssertionError unless every request there got 200."""
    found = seen(path)
    assert found, f"nothing was asked at {path}, but at {sorted({one['path'] for one in seen()})}"
    bad = [f"{one['status']} {one['answer'][:300]}" for one in found if one["status"] != 200]
    assert not bad, f"{len(bad)} of {len(found)} requests to {path} failed: {bad[0]}"
    return f"{len(found)} requests to {path}"
