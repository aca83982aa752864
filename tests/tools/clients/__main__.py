"""`make clients`: runs unmodified clients of other people against a gateway and prints a table.

`python -m tests.tools.clients [--url URL --key KEY --model NAME] [--only NAMES] [--quick] [--out FILE]`. Without
--url it starts a test network of four peers, a vLLM and a gateway. The exit status is 1 when a case is red.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.tools.clients.environments import InstallError, prepare
from tests.tools.clients.matrix import Client, chosen
from tests.tools.clients.recorder import Recorder, recording
from tests.tools.clients.report import Run, keep, kept, lines, outcome, page
from tests.tools.clients.running import Result, Target, run

ROOT = Path(__file__).resolve().parents[3]
CACHE, RUNS = ROOT / ".venv" / "clients", ROOT / ".bench" / "clients"


def say(text: str) -> None:
    print(f"[clients] {text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.clients", description=__doc__)
    parser.add_argument("--url", help="http://HOST:PORT of the server, without /v1 (default: a new test network)")
    parser.add_argument("--key", help="its API key (default: the variable GATEWAY_KEY)")
    parser.add_argument("--model", help="name of the model (default: the first of /v1/models)")
    parser.add_argument("--model-folder", default="", help="with its tokenizer, for benchmarks (default: as prepared)")
    parser.add_argument("--server", help="what the server is called in the table (default: owned_by of its model)")
    parser.add_argument("--only", default="", help="clients whose names contain one of these words, commas between")
    parser.add_argument("--quick", action="store_true", help="the part that CI runs")
    parser.add_argument("--out", type=Path, help="write the page with all kept runs to this file")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where clients are installed (.venv/clients)")
    options = parser.parse_args(argv)
    try:
        clients = chosen(options.only, options.quick)
    except ValueError as error:
        parser.error(str(error))
    with _target(options) as target:
        server, model = _about(target)
        server = options.server or server
        target = Target(target.url, target.key, options.model or target.model or model, target.model_folder)
        with recording(target.url) as recorder:
            red = sum([_one(client, number, len(clients), target, recorder, server, options.cache)
                       for number, client in enumerate(clients, 1)])
        if options.out:
            options.out.write_text(page(kept(RUNS, server), server, target.model))
            say(f"wrote {options.out}")
    return 1 if red else 0


def _one(
    client: Client, number: int, count: int, target: Target, recorder: Recorder, server: str, cache: Path
) -> bool:
    """Install and run one client and print its rows. Returns whether a case of it is red."""
    head, started = f"{number}/{count} {client.name}", time.monotonic()
    try:
        environment = prepare(client, cache, lambda text: say(f"{number}/{count} {text}"))
    except InstallError as error:
        done: Run = [Result(client.name, client.version, "install", False, str(error))], []
    else:
        say(f"{head} {environment.version}: {client.does}")
        done = run(client, environment, target, recorder, log=RUNS / "log" / f"{environment.folder.name}.log")
    keep(RUNS, server, client, done)
    say(f"{head}: {outcome(done[0])} in {time.monotonic() - started:.0f} s")
    for line in lines(client, done[0]):
        print(line, flush=True)
    return any(result.ok is False for result in done[0])


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[Target]:
    if options.url:
        key = options.key or os.environ.get("GATEWAY_KEY", "")
        yield Target(options.url.rstrip("/"), key, options.model or "", options.model_folder)
        return
    from tests.tools.clients.network import live

    with live(say) as target:
        yield target


def _about(target: Target) -> tuple[str, str]:
    """(who serves, the first model) as /v1/models says it."""
    request = urllib.request.Request(target.url + "/v1/models", headers={"authorization": f"Bearer {target.key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        first = json.loads(answer.read())["data"][0]
    return str(first.get("owned_by") or "server"), str(first["id"])


if __name__ == "__main__":
    sys.exit(main())
