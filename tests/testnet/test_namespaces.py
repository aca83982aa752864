"""Network namespaces: what is made is what the plan says, and nothing of it stays, also after a crash."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from p2p.base.errors import ConfigError
from testnet import namespaces
from testnet.namespaces import MOST, PREFIX, Command, Machine, Plan, commands, made, remove_leftovers

WHY_NOT = namespaces.why_not()
needs_root = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
PORT = 7470


def test_a_plan_is_a_list_of_commands() -> None:
    plan = Plan(public=2, natted=1, maker=77)
    done = list(commands(plan))
    added = [one.argv[3] for one in done if one.argv[:3] == ("ip", "netns", "add")]
    assert added == [f"{PREFIX}77-{name}" for name in ("net", "pub0", "pub1", "gw0", "nat0")]
    assert all(one.argv[0] == "ip" for one in done), "nothing is done to this machine's own network"
    assert [one.argv[4:] for one in done if one.text] == [("nft", "-f", "-")]
    machine = plan.natted_machine(0)
    assert machine == Machine(f"{PREFIX}77-nat0", "192.168.1.2", "11.101.0.1")
    assert plan.public_machine(1).seen_as == plan.public_machine(1).address == "11.2.0.1"
    assert machine.inside("p2p", "status") == [
        "ip", "netns", "exec", machine.namespace, sys.executable, "-m", "p2p", "status",
    ]
    seen = [plan.public_machine(n).seen_as for n in range(MOST)] + [plan.natted_machine(n).seen_as for n in range(MOST)]
    assert len({one.rsplit(".", 2)[0] for one in seen}) == 2 * MOST, "each in a /16 of its own"


@pytest.mark.parametrize("numbers", [(-1, 0), (0, MOST + 1)])
def test_more_machines_than_there_are_addresses_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="0 to 99"):
        Plan(*numbers, maker=1)


def ours() -> list[str]:
    return [name for name, maker in namespaces._existing() if maker == os.getpid()]


def python(machine: Machine, text: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python on a machine."""
    command = ["ip", "netns", "exec", machine.namespace, sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def dials(machine: Machine, address: str) -> bool:
    return python(machine, f"import socket; socket.create_connection(({address!r}, {PORT}), 3)").returncode == 0


def listener(machine: Machine) -> subprocess.Popen[str]:
    """A process that accepts connections on a machine, and has begun to."""
    serve = f"s = socket.create_server(('0.0.0.0', {PORT}))"
    text = f"import socket, time; {serve}; print('on', flush=True); time.sleep(600)"
    command = ["ip", "netns", "exec", machine.namespace, sys.executable, "-c", text]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "on\n"
    return started


@needs_root
def test_behind_a_router_one_can_dial_out_and_not_be_dialled() -> None:
    with made(public=2, natted=2) as plan:
        public, hidden = plan.public_machine(0), plan.natted_machine(0)
        running = [listener(one) for one in (public, hidden)]
        try:
            assert dials(plan.public_machine(1), public.address)
            assert dials(hidden, public.address)
            assert dials(hidden, hidden.address), "it does listen"
            assert not dials(public, hidden.seen_as)
            assert not dials(plan.natted_machine(1), hidden.seen_as)
            assert not dials(public, hidden.address), "and its own address means nothing out here"
        finally:
            for one in running:
                one.kill()
                one.wait()
    assert ours() == []


@needs_root
def test_nothing_stays_when_a_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = namespaces.commands

    def broken(plan: Plan) -> list[Command]:
        return [*list(real(plan))[:6], Command(("ip", "netns", "add", "no/such name"))]

    monkeypatch.setattr(namespaces, "commands", broken)
    with pytest.raises(ConfigError, match="no/such name"), made(public=2, natted=1):
        pytest.fail("it was made")
    assert ours() == []


@needs_root
def test_what_a_crashed_run_left_is_removed_and_nobody_elses() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, mine, other = f"{PREFIX}{gone.pid}-pub0", f"{PREFIX}{os.getpid()}-pub0", f"x{PREFIX}{gone.pid}-pub0"
    for name in (left, mine, other):
        subprocess.run(["ip", "netns", "add", name], check=True)
    sleeper = subprocess.Popen(["ip", "netns", "exec", left, sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        until_inside(left, sleeper.pid)
        assert remove_leftovers() == [left]
        assert sleeper.wait(timeout=60) != 0, "what ran in it was ended"
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert left not in names.replace(other, "")
        assert mine in names
        assert other in names
    finally:
        sleeper.kill()
        for name in (mine, other):
            subprocess.run(["ip", "netns", "del", name], check=True)


def until_inside(name: str, pid: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout
        if str(pid) in listed.split():
            return
    raise AssertionError("the process never came to be there")


@needs_root
def test_a_module_runs_inside() -> None:
    with made(public=1, natted=0) as plan:
        command = [sys.executable, "-m", "testnet.namespaces", plan.public_machine(0).namespace, "p2p", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "usage: folkmoot" in done.stdout) == (0, True)
