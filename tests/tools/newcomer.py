"""`make newcomer`: a newcomer's paths in fresh folders, each command listed with its time.

Law: only what a user can type is timed; starting the network that is joined is not.

    clone   git clone, then `make demo`: from the sources to a first checked answer, downloads listed apart
    serve   `folkmoot join FILE --serve MODEL`: to an own peer that serves and is registered
    credit  the same command, on to the first credit; a client of the network asks meanwhile
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules, Genesis, SprintRules, load_genesis
from p2p.base.keys import Key
from p2p.client.ask import ask
from p2p.client.network_file import dump_network
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.peer.config import DEFAULT_MODEL
from testnet.generate import Plan, generate
from testnet.processes import fresh_directory, start, start_ml_node, stop, up
from tests.verification import toy

ROOT = Path(__file__).resolve().parents[2]
PEERS = 4
EPOCH = 64  # heights: a newcomer's weight comes from the sprint of one epoch, for the next
SPRINT = SprintRules(blocks=10, open_blocks=8, samples=2, max_tokens=8, unit_tokens=5)
CHECKS = CheckRules(reveal_window=5, appeal_window=0)
LIMIT_S = 1500.0  # for one path
SETUP = re.compile(r"^\[setup\] \d/\d (.*)$")


@dataclass(frozen=True, slots=True)
class Network:
    """A network that runs. url: of an ML node that a newcomer may use; None: it starts its own."""

    directory: Path
    address: str
    genesis: Genesis
    url: str | None
    files: dict[str, str]  # settings for that ML node

    @property
    def client(self) -> Path:
        return self.directory / "client"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.newcomer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", default="serve,credit", help="of clone, serve, credit (default: %(default)s)")
    parser.add_argument("--engine", choices=("simulated", "vllm"), default="simulated", help="of all peers")
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    options = parser.parse_args()
    paths, found = options.paths.split(","), {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that folders and networks go, too
    with tempfile.TemporaryDirectory(prefix="folkmoot-newcomer-") as scratch:
        work = Path(scratch)
        if "clone" in paths:
            found["clone"] = clone(work / "clone")
        if {"serve", "credit"} & set(paths):
            with network(work / "net", options.engine) as net:
                found |= join(net, work / "me", to_credit="credit" in paths)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


# -- clone -----------------------------------------------------------------------------------------------------------


def clone(folder: Path) -> dict[str, float]:
    """Seconds of each step, from `git clone` to the first answer."""
    begun = time.monotonic()
    _run(["git", "clone", "--quiet", str(ROOT), str(folder)])
    steps = {"git clone": time.monotonic() - begun}
    print(f"[{steps['git clone']:6.1f} s] git clone", flush=True)
    begun = at = time.monotonic()
    name = ""
    with subprocess.Popen(["make", "demo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=_clean()) as process:
        assert process.stdout is not None
        for row in process.stdout:
            now = time.monotonic()
            if (found := SETUP.match(row)) and not found[1].startswith("done"):
                name, at = found[1].strip(), now
            elif found and name:
                steps[f"make demo: {name}"] = now - at
                print(f"[{now - at:6.1f} s] make demo, set-up: {name}", flush=True)
                at, name = now, ""
            elif "receipt checked by the client" in row:
                steps["make demo: to the checked answer"] = now - at
                print(f"[{now - at:6.1f} s] make demo, from the set-up's end to the checked answer", flush=True)
                at = now
    if process.returncode:
        raise SystemExit("make demo failed")
    steps["in all"] = sum(steps.values())
    print(f"[{steps['in all']:6.1f} s] clone to first answer, downloads included", flush=True)
    return steps


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, timeout=LIMIT_S)


def _clean() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


# -- join ------------------------------------------------------------------------------------------------------------


@contextmanager
def network(directory: Path, engine: str) -> Iterator[Network]:
    """A network whose newcomers earn weight, with short epochs."""
    fresh_directory(directory)
    try:
        model, files = None, dict[str, str]()
        if engine == "vllm":
            from p2p.inference.stack.model import prepare_model

            model = prepare_model(_say)
            url = start_ml_node(directory, "ml", model, _say)
        else:
            files = dict(toy.files())
            log = directory / "log" / "ml.log"
            start("ml", ["testnet.simulated_engine", "--port", "0"], log, directory)
            url = _until(lambda: [word for word in log.read_text().split() if word.startswith("http")])[0]
        folders = generate(Plan(
            directory, PEERS, model_dir=model, settings=tuple(files.items()), validation_window=8, epoch_blocks=EPOCH,
            sprint=SPRINT, checks=CHECKS,
        ))
        address = up(directory, folders, {folder.name: url for folder in folders}, _say)
        genesis = load_genesis(directory / "client" / "genesis.cbor")
        yield Network(directory, address, genesis, url if engine == "simulated" else None, files)
    finally:
        stop(directory)


def join(net: Network, folder: Path, to_credit: bool) -> dict[str, dict[str, float]]:
    """Run `folkmoot join` and read its steps; the client of the network asks the newcomer once it has weight."""
    file = folder.with_suffix(".toml")
    file.write_text(dump_network(net.genesis, (net.address,)))
    words = [
        "join", str(file), "--dir", str(folder), "--serve", DEFAULT_MODEL, "--fund", str(net.client), "--listen",
        "/ip4/127.0.0.1/tcp/0", "--json", "--then-stop",
    ]
    if net.url is not None:
        words += ["--ml-node", net.url, "--tokenizer", net.files["tokenizer"]]
        folder.mkdir(mode=0o700)
        (folder / "config.toml").write_text(f'profile = "{net.files["profile"]}"\n')
    print(f"$ folkmoot {' '.join([*words[:1], 'network.toml', *words[2:]])}", flush=True)
    steps, booked = dict[str, float](), 0.0
    with subprocess.Popen([sys.executable, "-m", "p2p", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for row in process.stdout:
                one = json.loads(row)
                print(f"[{one['seconds']:6.1f} s] {one['step']:9} {one['text']}", flush=True)
                steps[one["step"]] = one["seconds"]
                if one["step"] == "place" and not to_credit:
                    break
                if one["step"] == "credit" and one["text"].startswith("weight"):
                    _ask(net, folder)
                if one["step"] == "credit" and one["text"].startswith("first credit"):
                    booked = one["seconds"]
        finally:
            process.terminate()
    found = {"serve": {name: at for name, at in steps.items() if name not in ("credit", "paid", "joined")}}
    print(f"[{steps['place']:6.1f} s] join to an own peer that serves and is registered", flush=True)
    if to_credit:
        found["credit"] = {"booked": booked, "paid": steps["paid"]}
        print(f"[{booked:6.1f} s] join to first credit, booked", flush=True)
        print(f"[{steps['paid']:6.1f} s] join to first credit, paid into the account", flush=True)
    return found


def _ask(net: Network, folder: Path) -> None:
    """One question whose draw puts the newcomer first, as soon as the draw can."""
    wanted = Key.load(folder / "node.key").public
    question = Question(DEFAULT_MODEL, one_message("Name three primary colours."), max_tokens=12)

    async def once() -> None:
        payer = Payer.load(net.client)
        async for _ in ask(Endpoint(net.address, net.genesis), question, payer, Overrides(choose_executor=wanted)):
            pass

    for _ in range(10):
        try:
            trio.run(once)
        except (FolkmootError, BaseExceptionGroup) as error:
            print(f"           asked again: {error}", flush=True)
            time.sleep(1)
            continue
        return


def _until(found: object) -> list[str]:
    assert callable(found)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if value := found():
            return list(value)
        time.sleep(0.2)
    raise SystemExit("the ML node did not start")


def _say(text: str) -> None:
    print(f"           network: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
