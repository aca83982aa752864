"""testnet: test networks on this machine: up, down, demo; run, generate, ls, logs, exec, report.

Law: the work is in the package testnet; here are only arguments and what is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.arguments import number, whole

DEFAULT_DIR = Path(".testnet")


def register(commands: Any) -> None:
    command = commands.add_parser("testnet")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    _register_by_hand(actions)
    _register_manifests(actions)
    command.set_defaults(run=run)


def _directory(parser: argparse.ArgumentParser, default: Path = DEFAULT_DIR) -> None:
    parser.add_argument("--dir", type=Path, default=default, help="the network's folder (default: %(default)s)")


def _register_by_hand(actions: Any) -> None:
    up = actions.add_parser("up", help="start a network and leave it running")
    demo = actions.add_parser("demo", help="start a network, ask it a question, show its way")
    down = actions.add_parser("down", help="stop a network that `up` started")
    for parser in (up, demo, down):
        _directory(parser)
        parser.set_defaults(act={"up": _up, "demo": _demo, "down": _down}[parser.prog.split()[-1]])
    for parser in (up, demo):
        parser.add_argument(
            "--peers", type=whole(1, 64), default=4, metavar="N", help="honest peers (default: %(default)s)",
        )
        parser.add_argument(
            "--cheat", action="append", default=[], metavar="NAME|PEER=NAME",
            help="an attack of `folkmoot attack --list`, run by one more peer, or by peer PEER (from 1); may be "
            "repeated for `up`",
        )
    up.add_argument(
        "--ml-nodes", type=whole(0, 64), metavar="N",
        help="vLLM servers, which the peers use in turn (default: 0, no model is served)",
    )
    up.add_argument(
        "--sprint", action="store_true", help="weights come from a sprint at the beginning of each epoch",
    )
    demo.add_argument("--prompt", default="What is the capital of France?", help="the question (default: %(default)s)")
    demo.add_argument("--keep", action="store_true", help="leave the network up")


def _register_manifests(actions: Any) -> None:
    one = actions.add_parser("run", help="run a manifest: start, load, perturb, check, stop, report")
    one.add_argument("manifest", metavar="NAME|FILE", help="a shipped one (`folkmoot testnet ls`), or a TOML file")
    one.add_argument("--dir", type=Path, help="of the run's results (default: .testnet/NAME)")
    one.add_argument("--provider", choices=("local", "containers"), help="instead of the manifest's")
    one.add_argument("--seed", type=whole(0, 2**62), help="instead of the manifest's")
    one.add_argument("--seconds", type=number(0, 1e9), metavar="S",
                     help="of load, instead of the manifest's; what is planned later is left out")
    one.add_argument("--previous", metavar="DIR|REVISION", help="source of the previous release, for upgrades")
    one.add_argument("--source", type=Path, metavar="DIR", help="source of the program that the peers run")
    one.set_defaults(act=_run)
    written = actions.add_parser("write", help="write a manifest's network as a compose file and Kubernetes manifests")
    written.add_argument("manifest", metavar="NAME|FILE", help="a shipped manifest, or a TOML file")
    written.add_argument("--dir", type=Path, required=True, help="a new folder for keys, genesis file and manifests")
    written.set_defaults(act=_write)
    made = actions.add_parser("generate", help="print a small manifest that is drawn by chance")
    made.add_argument("--seed", type=whole(0, 2**62), required=True, help="the same seed gives the same manifest")
    made.add_argument("--links", action="store_true", help="links may suffer too, which needs root")
    made.set_defaults(act=_generate)
    actions.add_parser("ls", help="list shipped manifests, and runs under way").set_defaults(act=_list)
    logs = actions.add_parser("logs", help="print what a peer of a run has logged")
    logs.add_argument("peer", metavar="PEER", help="its name in the manifest, such as host1")
    _directory(logs)
    logs.set_defaults(act=_logs)
    inside = actions.add_parser("exec", help="run a command where a peer of a run under way runs")
    inside.add_argument("peer", metavar="PEER", help="its name in the manifest, such as host1")
    inside.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command and its words")
    _directory(inside)
    inside.set_defaults(act=_exec)
    report = actions.add_parser("report", help="write a finished run's page again, and print its checks")
    _directory(report)
    report.set_defaults(act=_report)


def run(options: argparse.Namespace) -> int:
    """With --json, what is said on the way goes to standard error, and the answer alone to standard output."""
    act: Callable[[argparse.Namespace], tuple[int, Any]] = options.act
    if not options.json:
        return act(options)[0]
    with contextlib.redirect_stdout(sys.stderr):
        status, found = act(options)
    print(json.dumps(found))
    return status


# -- by hand ---------------------------------------------------------------------------------------------------------


# Each returns the exit status, and what --json prints.


def _down(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.processes import stop

    stopped = list(stop(options.dir.resolve()))
    print("stopped: " + (", ".join(stopped) or "nothing was running"))
    return 0, {"stopped": stopped}


def _up(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.up import bring_up

    peers, cheats = _cheats(options)
    network = bring_up(
        options.dir.resolve(), peers, options.ml_nodes or 0, cheats, print, sprint=options.sprint, stays=True
    )
    print(f"another peer joins it with: folkmoot join {network.directory / 'network.toml'} --dir NEW")
    print(f"bootstrap {network.bootstrap}")
    folders = [str(folder) for folder in network.folders]
    return 0, {"bootstrap": network.bootstrap, "client": str(network.client), "peers": folders}


def _demo(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.demo import demo

    if len(options.cheat) > 1 or any("=" in text for text in options.cheat):
        raise ConfigError("give one attack by its name: the demo has one cheat", field="cheat")
    _, cheats = _cheats(options)
    cheat = next(iter(cheats.values()), None)
    status = demo(options.dir.resolve(), options.peers, options.prompt, cheat, keep=options.keep)
    return status, {"exit_status": status, "dir": str(options.dir.resolve())}


def _cheats(options: argparse.Namespace) -> tuple[int, dict[int, str]]:
    """(how many peers in all, number of a peer from 0 -> its attack). Raises ConfigError."""
    from p2p.lab import attacks

    peers, cheats = options.peers, {}
    for text in options.cheat:
        peer, _, name = text.rpartition("=")
        if not peer:
            peers += 1
            peer = str(peers)
        if not peer.isdigit() or not 1 <= int(peer) <= peers:
            raise ConfigError(f"give PEER as a number from 1 to {peers}, not {text!r}", field="cheat")
        cheats[int(peer) - 1] = attacks.get(name).name
    return peers, cheats


# -- from manifests --------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> tuple[int, Any]:
    import signal

    from testnet.reports.page import write_page
    from testnet.runs.choosing import chosen
    from testnet.runs.run import Run

    for sign in (signal.SIGINT, signal.SIGTERM):  # a shell's background job is born deaf to SIGINT
        signal.signal(sign, _interrupt)
    manifest, made = chosen(
        options.manifest, directory=options.dir, provider=options.provider, seed=options.seed,
        seconds=options.seconds, previous=options.previous, source=options.source,
    )
    result = Run(manifest, made, _say).execute()
    print(f"report {write_page(result, made.directory.resolve())}")
    return _verdict(result)


def _interrupt(sign: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, flush=True)


def _verdict(result: Any) -> tuple[int, Any]:
    from testnet.runs.result import plain

    failed = [check.name for check in result.checks if not check.holds]
    print(f"{result.name}, seed {result.seed}: " + (f"FAILED: {', '.join(failed)}" if failed else "all checks hold"))
    return 1 if failed else 0, plain(result)


def _write(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.manifest.reading import find, read_manifest
    from testnet.providers.compose import compose
    from testnet.providers.exporting import export
    from testnet.providers.kubernetes import manifests
    from testnet.providers.yaml_text import dump

    manifest, directory = read_manifest(find(options.manifest)), options.dir.resolve()
    made = export(manifest, directory, _say)
    texts = {
        "compose.yaml": dump(compose(made, manifest.name)),
        "kubernetes.yaml": "---\n".join(dump(one) for one in manifests(made, manifest.name)),
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
        print(f"written: {directory / name}")
    return 0, {"written": [str(directory / name) for name in texts]}


def _generate(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.manifest.random_manifest import draw

    text = draw(options.seed, links=options.links)
    print(text, end="")
    return 0, {"manifest": text}


def _list(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.manifest.reading import read_manifest, shipped
    from testnet.runs.leftovers import under_way

    found = {name: read_manifest(file).about for name, file in shipped().items()}
    running = under_way()
    for name, about in found.items():
        print(f"{name:16} {about}")
    for entry in running:
        print(f"running: {entry.name} in {entry.directory}")
    return 0, {
        "manifests": [{"name": name, "about": about} for name, about in found.items()],
        "running": [{"name": entry.name, "dir": str(entry.directory)} for entry in running],
    }


def _logs(options: argparse.Namespace) -> tuple[int, Any]:
    import shutil

    from testnet.runs.leftovers import log_of

    with log_of(options.dir.resolve(), options.peer).open(errors="replace") as log:
        if options.json:
            return 0, {"lines": log.read().splitlines()}
        shutil.copyfileobj(log, sys.stdout)
    return 0, None


def _exec(options: argparse.Namespace) -> tuple[int, Any]:
    import subprocess

    from testnet.runs.leftovers import command_inside

    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise ConfigError("give a command after --, such as: testnet exec host1 -- ip address", field="command")
    command = command_inside(options.dir.resolve(), options.peer, words)
    if not options.json:
        return subprocess.run(command, check=False).returncode, None
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    return done.returncode, {"exit_status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def _report(options: argparse.Namespace) -> tuple[int, Any]:
    from testnet.reports.page import write_page
    from testnet.runs.result import read_result

    directory = options.dir.resolve()
    result = read_result(directory)
    for check in result.checks:
        print(f"{'holds' if check.holds else 'FAILS'}  {check.name}: {check.says}")
        for failure in check.failures:
            print(f"       {failure}")
    print(f"report {write_page(result, directory)}")
    return _verdict(result)
