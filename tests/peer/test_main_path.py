"""Real peers, real libp2p, real LMDB, real consensus; only the ML node is the named fake. kill, restart, stop two, bad
input."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from p2p.base.codec import unpack
from p2p.base.genesis import CheckRules
from p2p.consensus.light import LightBlock
from p2p.peer.control import call
from testnet.processes import stop
from tests import warm
from tests.net_lab import Net, until

pytestmark = pytest.mark.network
STILL_MS = 5000  # a block comes every two seconds or sooner


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("net"), window=6, epoch_blocks=12, checks=CheckRules(reveal_window=4, appeal_window=0)
    )
    yield made
    made.close()


def test_a_question_is_answered_recorded_validated_and_paid(net: Net) -> None:
    events = net.events(max_tokens="20")
    receipt = events[-1]["receipt"]
    assert receipt["checked"]
    assert sum(e["event"] == "token" for e in events) == receipt["output_tokens"] == 20
    found = net.final(receipt["inference_id"])
    assert found["status"] == "VALIDATED", found
    assert found["output_matches"]
    assert 0 < found["start_height"] <= found["finish_height"] < found["end_height"]
    assert found["executor"] not in found["committee"]
    assert found["committee_height"] > found["finish_height"]
    assert found["charged_micro"] == found["paid_micro"] == (found["prompt_tokens"] + 20) * found["price_micro"]


def test_questions_to_two_peers_at_once_are_two_inferences_on_the_chain(net: Net) -> None:
    with ThreadPoolExecutor(2) as pool:
        asked = list(pool.map(lambda peer: net.events("hello", peer), (0, 1)))
    ids = [events[-1]["receipt"]["inference_id"] for events in asked]
    assert [
        net.final(x)["status"] for x in ids
    ] == ["VALIDATED", "VALIDATED"], "neither peer knew of the other one's nonce"


@pytest.mark.parametrize(("extra", "field"), [
    ({"prompt": " "}, "prompt"), ({"max_tokens": "0"}, "max_tokens"), ({"max_tokens": "100000"}, "max_tokens"),
    ({"model": "gpt-9"}, "model"), ({"prompt": "x" * 70000}, "prompt_tokens_max"),
])
def test_a_bad_request_is_refused_by_name(net: Net, extra: dict[str, str], field: str) -> None:
    before = net.balance()
    done = net.ask(**extra)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["field"] == field
    assert net.balance() == before


def test_kill_one_blocks_go_on_and_it_catches_up(net: Net) -> None:
    stop(net.directory, [net.folders[3].name], sign=signal.SIGKILL)
    top = net.height(0)
    until(lambda: net.height(0) >= top + 3)
    net.restart(3)
    goal = net.height(0)
    until(lambda: net.height(3) >= goal)
    until(lambda: net.height(0) > goal)
    assert {net.block(peer, goal)["app_hash"] for peer in range(4)} == {net.block(0, goal)["app_hash"]}
    assert {net.block(peer, goal)["block_id"] for peer in range(4)} == {net.block(0, goal)["block_id"]}


def test_stop_two_blocks_stop_nothing_forks_and_go_on(net: Net) -> None:
    """Two of four are no quorum: what they vote on is decided when a third is back; every certificate names three."""
    stop(net.directory, [f.name for f in net.folders[2:]], sign=signal.SIGKILL)
    before = max(net.height(0), net.height(1))

    def waiting() -> int:
        """The height at which both peers have voted long after the block before it; 0 while that is not so."""
        told = [net.status(peer) for peer in (0, 1)]
        heights = {one["consensus"]["height"] for one in told}
        voted = all(one["consensus"]["step"] in ("prevote", "precommit") for one in told)
        still = time.time_ns() // 1_000_000 - max(one["last_time_ms"] for one in told) > STILL_MS
        return int(heights.pop()) if voted and still and len(heights) == 1 else 0

    stuck = until(waiting)
    for peer in (2, 3):
        net.restart(peer)
    top = max(before, stuck) + 2
    until(lambda: min(net.height(peer) for peer in range(4)) >= top)
    for height in range(1, top):
        assert len({net.block(peer, height)["block_id"] for peer in range(4)}) == 1
    for height in range(before, top):
        assert signers(net, height) >= 3, f"height {height} was decided without a quorum"


def signers(net: Net, height: int) -> int:
    """How many validators the certificate of this height names, as peer 0 has it."""
    found = call(net.folders[0], {"op": "light", "height": height})
    return len(unpack(LightBlock, bytes.fromhex(found["light"])).certificate.signatures)


def test_a_peer_with_nothing_begins_at_a_snapshot_and_its_headers_can_be_checked(net: Net) -> None:
    """Its store is lost with its key's mark: it comes back by light client and snapshot, epochs behind, while blocks go
    on."""
    until(lambda: net.height(0) > 4 * 12, 90)  # a snapshot more than three epochs after the beginning
    stop(net.directory, [net.folders[3].name], sign=signal.SIGKILL)
    shutil.rmtree(net.folders[3] / "data")
    (net.folders[3] / "node.key.used").unlink()
    net.restart(3)
    until(lambda: net.height(3) >= net.height(0) - 1)
    assert net.status(3)["base"] > 1
    goal = net.height(3) + 1  # the first block it surely has whole
    until(lambda: min(net.height(0), net.height(3)) > goal)
    assert net.block(3, goal)["app_hash"] == net.block(0, goal)["app_hash"]
    trusted = net.block(0, 5)
    base = [sys.executable, "-m", "p2p", "verify-header", "--json", str(goal), "--dir", str(net.folders[0])]
    for extra in ([], ["--trusted", f"5:{trusted['block_id']}"], ["--peer", net.address(1)]):
        done = warm.run([*base, *extra], 60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["trusted"][-1]["block_id"] == net.block(0, goal)["block_id"]
    done = warm.run([*base, "--trusted", "5:" + "00" * 32], 60)
    assert done.returncode == 3
    assert "not the one you trust" in done.stderr


def test_a_second_process_on_the_same_directory_is_refused(net: Net) -> None:
    argv = [sys.executable, "-m", "p2p", "serve", "--dir", str(net.folders[0]), "--json"]
    done = warm.run(argv, 60)
    assert done.returncode == 6
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "locked"
    assert net.height(0) > 0
