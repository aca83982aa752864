"""doctor: what is closed, missing or wrong around a peer, each with its fix in one sentence.

Law: CHECKS is the whole list. A check is pure: facts in, one finding out; peer/checkup.py collects the facts.

A finding is ok, a note (it works, and could be better), failed, or skipped, where there was nothing to look at. The
exit status is 1 where any failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.limits import (
    MAX_CLOCK_APART_MS,
    MIB,
    MIN_FREE_DISK,
    MIN_FREE_MEMORY,
    MIN_OPEN_FILES,
    STALE_TIP_S,
)
from p2p.cli.arguments import default_dir
from p2p.cli.output import show
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.peer.checkup import Facts

OK, NOTE, FAILED, SKIPPED = "ok", "note", "failed", "skipped"
_MAX_TEXT = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    state: str
    text: str
    fix: str = ""  # what to do, where something is to do


def register(commands: Any) -> None:
    command = commands.add_parser("doctor")
    command.add_argument(
        "--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)",
    )
    command.add_argument(
        "--bootstrap", action="append", default=[], metavar="MULTIADDR",
        help="a peer to begin with, instead of the configured ones; may be repeated",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything and print it. Returns 1 where a check failed."""
    import logging

    from p2p.base.addresses import check_multiaddr
    from p2p.cli.tasks import Logging, run_async
    from p2p.peer.checkup import collect

    for address in options.bootstrap:
        check_multiaddr(address, "bootstrap", with_peer=True)
    logging.getLogger("p2p").setLevel(logging.ERROR)  # what others find is in the report
    facts = run_async(collect, options.dir, tuple(options.bootstrap), log=Logging(level="error"))
    findings = judge(facts)
    failed = any(one.state == FAILED for one in findings.values())
    report = {
        "ok": not failed, "running": facts.status is not None,
        "checks": [{"name": name, **asdict(one)} for name, one in findings.items()],
    }
    show(options, report, lambda: _text(findings))
    return int(failed)


def judge(facts: Facts) -> dict[str, Finding]:
    """Every check, in order."""
    return {name: check(facts) for name, check in CHECKS.items()}


def _text(findings: dict[str, Finding]) -> str:
    lines = []
    for name, one in findings.items():
        lines.append(f"{one.state:8}{name:12}{line(one.text, _MAX_TEXT)}")
        if one.fix:
            lines.append(f"{'':20}-> {one.fix}")
    return "\n".join(lines)


# -- the checks ------------------------------------------------------------------------------------------------------


def _file(name: str, good: str, fix: str) -> Callable[[Facts], Finding]:
    def check(facts: Facts) -> Finding:
        wrong = facts.files.get(name, "")
        return Finding(FAILED, wrong, fix) if wrong else Finding(OK, good)

    return check


def _process(facts: Facts) -> Finding:
    if facts.silent:
        return Finding(FAILED, facts.silent, "End that process and start the peer again with: folkmoot serve")
    if facts.status is None:
        return Finding(SKIPPED, "the peer does not run; its ports and network were tried in its place")
    failures = facts.status.get("failures") or []
    if failures:
        parts = ", ".join(f"{one['part']} ({one['last']})" for one in failures)
        return Finding(FAILED, f"parts of the peer failed: {parts}", "Read DIR/log/folkmoot.log, and report it.")
    return Finding(OK, f"the peer runs: {facts.status['state']}")


def _disk(facts: Facts) -> Finding:
    if facts.free_bytes is None:
        return Finding(FAILED, f"{facts.directory} cannot be read", "Name the peer's folder with --dir.")
    free = f"{facts.free_bytes // MIB} MiB are free"
    if facts.free_bytes < MIN_FREE_DISK:
        wanted = f"{MIN_FREE_DISK // MIB} MiB"
        return Finding(FAILED, free, f"Free {wanted} on that disk: a peer whose disk is full halts.")
    return Finding(OK, free)


def _ports(facts: Facts) -> Finding:
    if facts.status is not None:
        return Finding(OK, "it listens, and names " + _listed(facts.status.get("addresses", ())))
    wrong = [error for error in facts.ports.values() if error]
    if wrong:
        return Finding(FAILED, wrong[0], "End the program that has the port, or set another one with `listen`.")
    if not facts.ports:
        return Finding(SKIPPED, "nothing was opened")
    return Finding(OK, "free: " + _listed(facts.ports))


def _bootstrap(facts: Facts) -> Finding:
    fix = "Check the address and that this machine may make outgoing TCP connections to it."
    if facts.status is not None:
        count = facts.status.get("connections", 0)
        if count:
            return Finding(OK, f"{count} peers are connected")
        return Finding(FAILED, facts.status.get("alone") or "nobody is connected", fix)
    if facts.config is None or facts.files.get("genesis"):
        return Finding(SKIPPED, "it takes settings and a genesis file to ask anybody")
    if not facts.bootstrap:
        where = "Put one from the network's founders into config.toml, as `bootstrap`."
        return Finding(FAILED, "no bootstrap address is set", where)
    wrong = {address: error for address, error in facts.bootstrap.items() if error}
    if len(wrong) < len(facts.bootstrap):
        good = [address for address in facts.bootstrap if address not in wrong]
        return Finding(NOTE if wrong else OK, "reached " + _listed(good), "; ".join(wrong.values()))
    return Finding(FAILED, "; ".join(wrong.values()), fix)


def _reachable(facts: Facts) -> Finding:
    reach = facts.reach
    if not reach or reach["verdict"] == "unknown":
        return Finding(SKIPPED, reach.get("reason") or "no peer on another machine could be asked")
    if reach["verdict"] == "reachable":
        return Finding(OK, reach["reason"])
    fix = "Forward that TCP port of the router to this machine, or allow it in the firewall."
    if reach["places"]:
        return Finding(NOTE, f"{reach['reason']}; relays lead here meanwhile", fix)
    return Finding(FAILED, reach["reason"], fix)


def _relay(facts: Facts) -> Finding:
    reach = facts.reach
    if not reach or reach["verdict"] != "not reachable":
        return Finding(SKIPPED, "no relay is needed, as far as is known")
    if reach["places"]:
        return Finding(OK, "reached through " + _listed(place["address"] for place in reach["places"]))
    return Finding(
        FAILED, reach["refused"] or "no relay was asked yet",
        "Add bootstrap addresses of peers that others can dial: every such peer relays unless its owner forbids it.",
    )


def _clock(facts: Facts) -> Finding:
    fix = "Set this machine's clock, and keep it right with NTP."
    warning = ((facts.status or {}).get("consensus") or {}).get("clock")
    if warning:
        return Finding(FAILED, str(warning), fix)
    ahead = facts.reach.get("clock_ms") if facts.reach else None
    if ahead is None:
        return Finding(SKIPPED, "no peer on another machine said what time it is")
    said = f"others' clocks are {abs(ahead) / 1000:.1f} s {'ahead of' if ahead >= 0 else 'behind'} this one"
    return Finding(FAILED, said, fix) if abs(ahead) > MAX_CLOCK_APART_MS else Finding(OK, said)


def _engine(facts: Facts) -> Finding:
    if facts.status is not None:
        if not facts.status.get("ml_node"):
            return Finding(SKIPPED, "no engine is set: this peer votes and takes requests, and serves none itself")
        wrong = "" if facts.status["state"] == "ready" else facts.status.get("said") or "it is not ready"
    elif facts.engine is None:
        return Finding(SKIPPED, "no engine is set: this peer votes and takes requests, and serves none itself")
    else:
        wrong = facts.engine
    if wrong:
        return Finding(FAILED, wrong, "Start the ML node, or correct `ml_node` or `model_path`; DIR/log says more.")
    return Finding(OK, "the engine answers")


def _blocks(facts: Facts) -> Finding:
    if facts.status is None:
        return Finding(SKIPPED, "the peer does not run")
    age_s = (facts.now_ms - facts.status["last_time_ms"]) / 1000
    said = f"height {facts.status['height']}, decided {max(0.0, age_s):.0f} s ago"
    if age_s > STALE_TIP_S:
        return Finding(FAILED, said, "Wait while it catches up; if that does not help, see `bootstrap` and `clock`.")
    return Finding(OK, said)


def _key(facts: Facts) -> Finding:
    twin = (facts.status or {}).get("twin")
    if twin:
        return Finding(FAILED, str(twin), "Stop one of the two at once: two votes of one key cost all weight.")
    return Finding(OK if facts.status else SKIPPED, "nobody else runs with this key, as far as is known")


def _memory(facts: Facts) -> Finding:
    hardware = facts.machine.hardware
    if hardware is None or not hardware.memory:
        return Finding(SKIPPED, "this system does not say how much memory it has")
    said = f"{hardware.available // MIB} of {hardware.memory // MIB} MiB are available"
    if hardware.available < MIN_FREE_MEMORY:
        wanted = f"End other programs until {MIN_FREE_MEMORY // MIB} MiB are available, or the system ends the peer."
        return Finding(FAILED, said, wanted)
    return Finding(OK, said)


def _open_files(facts: Facts) -> Finding:
    limit = facts.machine.open_files
    said = f"a process started here may open {limit} files" if limit > 0 else "there is no limit of open files"
    if 0 < limit < MIN_OPEN_FILES:
        how = f"Run `ulimit -n {4 * MIN_OPEN_FILES}` before the start, or set LimitNOFILE in its service."
        return Finding(FAILED, said, how)
    return Finding(OK, said)


def _account(facts: Facts) -> Finding:
    wrong = facts.machine.account
    if wrong is None:
        return Finding(SKIPPED, "account.key is not here; the peer itself does not need it")
    if wrong:
        return Finding(FAILED, wrong, "Run chmod 600 on account.key, or restore it from its copy: it holds the money.")
    return Finding(OK, "the account's key is there, and private")


def _store(facts: Facts) -> Finding:
    if facts.status is not None:
        return Finding(OK, "the peer has it open")
    wrong = facts.machine.store
    if wrong is None:
        return Finding(SKIPPED, "there is no data yet: the peer has not run in this folder")
    if wrong:
        fix = "End the process that has it open; a damaged one is restored from a copy, never under a key in use."
        return Finding(FAILED, wrong, fix)
    return Finding(OK, "LMDB opens it, and it is whole")


def _gpu(facts: Facts) -> Finding:
    hardware = facts.machine.hardware
    if hardware is None:
        return Finding(SKIPPED, "this machine was not looked at")
    if hardware.driver:
        return Finding(FAILED, hardware.driver, "Repair the driver until nvidia-smi lists the GPU, then start again.")
    if hardware.gpus:
        return Finding(OK, ", ".join(f"{gpu.name}, {gpu.free // MIB} MiB free" for gpu in hardware.gpus))
    return Finding(SKIPPED, "no GPU: models run on the CPU")


def _models(facts: Facts) -> Finding:
    for wrong in facts.machine.models.values():
        if wrong:
            return Finding(FAILED, wrong, "Copy the model's files again, or correct `model_path`.")
    for folder, found in facts.machine.fits.items():
        if not found.fits:
            return Finding(FAILED, f"{folder}: {found.text}", "Serve a smaller model here, or this one elsewhere.")
    if not facts.machine.models:
        return Finding(SKIPPED, "no model's folder is set")
    return Finding(OK, "whole: " + _listed(facts.machine.models))


def _listed(addresses: Any) -> str:
    return ", ".join(addresses) or "nothing"


CHECKS: dict[str, Callable[[Facts], Finding]] = {
    "settings": _file("settings", "config.toml is good", "Correct it, or make it: folkmoot join NETWORK --dir DIR"),
    "keys": _file("keys", "the node's key is there, and private", "Restore node.key from its copy, with mode 0600."),
    "genesis": _file("genesis", "genesis.cbor is good", "Copy the network's own genesis file into the folder."),
    "account": _account,
    "process": _process,
    "store": _store,
    "disk": _disk,
    "memory": _memory,
    "files": _open_files,
    "ports": _ports,
    "bootstrap": _bootstrap,
    "reachable": _reachable,
    "relay": _relay,
    "clock": _clock,
    "gpu": _gpu,
    "models": _models,
    "engine": _engine,
    "blocks": _blocks,
    "key": _key,
}
