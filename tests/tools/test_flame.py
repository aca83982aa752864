"""How stacks become a table and a picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.tools.flame import shares
from tests.tools.flame_graph import WIDTH, draw, tree

LOOP = "main (p2p/cli/main.py:1);unrolled_run (trio/_core/_run.py:1)"


def test_a_task_is_what_the_loop_runs_without_what_is_around_it() -> None:
    stacks = (
        f"{LOOP};Tasks.keep (p2p/machine/tasks.py:1);Keeper.run (p2p/gossip/discovery/keeping.py:1) 30\n"
        f"{LOOP};Keeper.run (p2p/gossip/discovery/keeping.py:9);verify (p2p/base/keys.py:1) 20\n"
        f"{LOOP};once (p2p/machine/tasks.py:1) 10\n"
        f"{LOOP} 15\n"
        "main (p2p/cli/main.py:1);EpollIOManager.get_events (trio/_core/_io_epoll.py:1) 20\n"
        "main (p2p/cli/main.py:1) 4\n"
        f"{LOOP};rare (p2p/x.py:1) 1"
    )
    assert shares(stacks) == [
        ("Keeper.run", pytest.approx(0.5)), ("waiting for events, or for a processor after it", pytest.approx(0.2)),
        ("trio's loop itself", pytest.approx(0.15)), ("once", pytest.approx(0.1)),
        ("outside tasks", pytest.approx(0.04)), ("rare", pytest.approx(0.01)),
    ]
    assert shares("") == []


def test_a_frame_is_as_wide_as_its_share_and_names_are_text() -> None:
    stacks = "main;<listcomp> (a.py:1);read & (b.py:1) 30\nmain;write (b.py:2) 10"
    root = tree(stacks)
    assert (root.count, root.calls["main"].calls["write (b.py:2)"].count) == (40, 10)
    picture = ElementTree.fromstring(draw(stacks, "one & all"))
    boxes = {group[0].text: group[1] for group in picture.iter("{http://www.w3.org/2000/svg}g")}
    assert float(boxes["write (b.py:2): 25.0%"].attrib["width"]) == pytest.approx(WIDTH / 4, abs=1)
    assert float(boxes["read & (b.py:1): 75.0%"].attrib["y"]) < float(boxes["<listcomp> (a.py:1): 75.0%"].attrib["y"])
