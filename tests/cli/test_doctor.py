"""`folkmoot doctor`: each thing that is wrong fails its own check, with a fix; what is right fails none."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import to_builtins

from p2p.base.genesis import load_genesis
from p2p.base.limits import MAX_CLOCK_APART_MS, MIN_FREE_DISK, STALE_TIP_S
from p2p.cli.doctor import CHECKS, FAILED, NOTE, OK, SKIPPED, judge
from p2p.cli.main import main
from p2p.gossip.connections.status import PlaceRow, ReachStatus
from p2p.inference.stack.fits import GIB, Fit
from p2p.inference.stack.hardware import Hardware
from p2p.machine.status import FailedPart
from p2p.peer.checkup import Facts
from p2p.peer.config import NodeConfig
from p2p.peer.machine_facts import MachineFacts
from testnet.generate import Plan, generate
from tests import warm
from tests.gossip.lab import peers, seed
from tests.wire.statuses import owner_status

HARDWARE = Hardware(2, 8 * GIB, 4 * GIB, frozenset({"avx2"}), (), "", ("vllm",))
OPEN = ReachStatus(
    "reachable", "others can dial /ip4/9.9.9.9/tcp/7470", 3, 20, (), "", 0, True, 0, 0, 0, 0, {},
)
HIDDEN = to_builtins(OPEN) | {
    "verdict": "not reachable", "reason": "nothing answers at /ip4/9.9.9.9/tcp/7470", "relaying": False,
    "places": [to_builtins(PlaceRow("12D3KooWRelay", "/ip4/9.1.0.1/tcp/7470/p2p/12D3KooWRelay/p2p-circuit", 3000))],
}
LOST = HIDDEN | {"places": [], "refused": "relay 12D3KooWRelay gives no place: it has no place left"}
HERE, OTHER = "/ip4/0.0.0.0/tcp/7470", "/ip4/9.1.0.1/tcp/7470/p2p/12D3KooWSeed"
DIR = Path("/somewhere")


def resting(**change: Any) -> Facts:
    """A peer that does not run and that nothing is wrong with."""
    good = Facts(
        DIR, NodeConfig(DIR), {"settings": "", "keys": "", "genesis": ""}, MIN_FREE_DISK, None, "", {HERE: ""},
        {OTHER: ""}, to_builtins(OPEN), "", 1_000_000,
    )
    return replace(good, **change)


def running(reach: Any = None, **change: Any) -> Facts:
    """The same of one that runs. change: of its status."""
    status = to_builtins(owner_status()) | {
        "connections": 5, "addresses": [f"{HERE}/p2p/12D3KooWMe"], "ml_node": "http://127.0.0.1:8000",
        "last_time_ms": 999_000, **change,
    }
    return resting(status=status, ports={}, bootstrap={}, engine=None, reach=reach or to_builtins(OPEN))


def failed(facts: Facts) -> list[str]:
    return [name for name, one in judge(facts).items() if one.state == FAILED]


def test_nothing_fails_where_nothing_is_wrong() -> None:
    assert failed(resting()) == failed(running()) == []
    assert {one.state for one in judge(running()).values()} == {OK, SKIPPED}
    assert judge(resting(engine=None))["engine"].state == SKIPPED


CONSENSUS = to_builtins(owner_status())["consensus"]
WRONG: list[tuple[str, Facts, list[str], str]] = [
    ("settings", resting(config=None, files={"settings": "listen: no"}), ["settings"], "join"),
    ("keys", resting(files={"keys": "others can read it"}), ["keys"], "0600"),
    ("genesis", resting(files={"genesis": "it is of another network"}), ["genesis"], "genesis file"),
    ("no folder", resting(free_bytes=None), ["disk"], "--dir"),
    ("disk", resting(free_bytes=MIN_FREE_DISK - 1), ["disk"], "Free"),
    ("port", resting(ports={HERE: "port 7470 is in use"}), ["ports"], "`listen`"),
    ("nobody there", resting(bootstrap={OTHER: "nobody listens"}), ["bootstrap"], "outgoing"),
    ("no bootstrap", resting(bootstrap={}), ["bootstrap"], "`bootstrap`"),
    ("alone", running(connections=0, alone="nobody answers"), ["bootstrap"], "outgoing"),
    ("closed", resting(reach=LOST), ["reachable", "relay"], "Forward"),
    ("closed, running", running(LOST), ["reachable", "relay"], "Forward"),
    ("clock", running(to_builtins(OPEN) | {"clock_ms": -MAX_CLOCK_APART_MS - 1}), ["clock"], "NTP"),
    ("clock, blocks", running(consensus=CONSENSUS | {"clock": "your clock seems off"}), ["clock"], "NTP"),
    ("engine", resting(engine="nothing answers"), ["engine"], "`ml_node`"),
    ("engine, running", running(state="loading", said="it has no tape"), ["engine"], "`ml_node`"),
    ("stuck", running(last_time_ms=999_000 - round(STALE_TIP_S * 1000)), ["blocks"], "catches up"),
    ("twin", running(twin="another peer runs with this key"), ["key"], "Stop one"),
    ("part", running(failures=[to_builtins(FailedPart("sync", 3, "KeyError", True))]), ["process"], "log"),
    ("account", resting(machine=MachineFacts(account="others can read it")), ["account"], "chmod 600"),
    ("store", resting(machine=MachineFacts(store="it is cut off")), ["store"], "copy"),
    ("memory", resting(machine=MachineFacts(replace(HARDWARE, available=GIB // 8))), ["memory"], "End other programs"),
    ("files", resting(machine=MachineFacts(open_files=256)), ["files"], "ulimit"),
    ("gpu", resting(machine=MachineFacts(replace(HARDWARE, driver="nvidia-smi fails"))), ["gpu"], "driver"),
    ("weights", resting(machine=MachineFacts(models={"/m": "/m/a is cut off"})), ["models"], "Copy"),
    ("too large", resting(machine=MachineFacts(models={"/m": ""}, fits={"/m": Fit(False, "", "", "no room")})),
     ["models"], "smaller"),
    ("hangs", resting(silent="it does not answer within 20 s"), ["process"], "End that process"),
]


@pytest.mark.parametrize(("facts", "checks", "fix"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_fails_its_check_and_says_what_to_do(facts: Facts, checks: list[str], fix: str) -> None:
    found = judge(facts)
    assert failed(facts) == checks
    assert fix in found[checks[0]].fix
    assert all(one.text for one in found.values())
    assert all(found[name].fix.rstrip(".").count(". ") == 0 for name in checks), "one sentence"


def test_every_check_can_fail() -> None:
    assert {name for _, _, checks, _ in WRONG for name in checks} == CHECKS.keys()


def test_a_hidden_peer_with_a_relay_works_and_could_be_better() -> None:
    for facts in (running(HIDDEN), resting(reach=HIDDEN)):
        found = judge(facts)
        assert failed(facts) == []
        assert (found["reachable"].state, found["relay"].state) == (NOTE, OK)
        assert "Forward" in found["reachable"].fix
        assert "p2p-circuit" in found["relay"].text


def test_one_bootstrap_of_two_is_enough() -> None:
    found = judge(resting(bootstrap={OTHER: "nobody listens", HERE: ""}))["bootstrap"]
    assert (found.state, found.fix) == (NOTE, "nobody listens")


def report(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", "--json", *words])
    return status, dict(json.loads(capsys.readouterr().out))


def states(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in found["checks"]}


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = report(capsys, "--dir", str(tmp_path))
    assert (status, found["ok"], found["running"]) == (1, False, False)
    assert [name for name, state in states(found).items() if state == FAILED] == ["settings", "keys", "genesis"]
    assert main(["doctor", "--dir", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("failed  settings")
    assert len(said.splitlines()) == len(CHECKS) + 3, "one line a check, and one a fix"


@pytest.mark.network
async def test_a_peer_that_does_not_run_is_tried_in_its_place(tmp_path: Path) -> None:
    """Its own ports, its own network, another key: a seed that is there, one that is not, and a port that is taken."""
    (folder,) = generate(Plan(tmp_path, 1, serving=False))
    network, run_in_thread = load_genesis(folder / "genesis.cbor").network, trio.to_thread.run_sync
    async with peers({"seed": seed("seed").hex(), "network": network, "min": 0}) as (there,):
        good = await run_in_thread(lambda: doctor(folder, "--bootstrap", there.address))
        assert good[0] == 0, good
        assert states(good[1])["bootstrap"] == states(good[1])["ports"] == OK
        assert states(good[1])["reachable"] == SKIPPED, "nobody sees it from another machine"
        state = await there.tell("state")
        assert state["status"]["twin"] == ""
        port = there.address.split("/")[4]
        (folder / "config.toml").write_text(f'listen = ["/ip4/127.0.0.1/tcp/{port}"]\n')
        taken = await run_in_thread(lambda: doctor(folder, "--bootstrap", there.address))
        assert (states(taken[1])["ports"], states(taken[1])["bootstrap"]) == (FAILED, OK)
    gone = await run_in_thread(lambda: doctor(folder, "--bootstrap", there.address))
    assert (gone[0], states(gone[1])["bootstrap"]) == (1, FAILED)


def doctor(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "p2p", "doctor", "--json", "--dir", str(folder), *words]
    done = warm.run(command, 300)
    assert done.stdout, done.stderr
    return done.returncode, dict(json.loads(done.stdout))
