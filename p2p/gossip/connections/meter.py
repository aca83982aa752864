"""Measures the CPU time that a stream's handler takes, and charges it to the stream's peer.

Law: only the thread time between two waits of the handler's own task is charged.

One step in SHARE, drawn by lot, is timed and counts for all: the clock of a thread is a system call, which costs more
than many steps do. Nobody can tell which steps are timed.
"""

from __future__ import annotations

import random
import time

import trio

from p2p.gossip.connections.door import Door

SHARE = 4


class Meter(trio.abc.Instrument):
    """A trio instrument: it times the steps of those tasks that are charged to a peer."""

    def __init__(self, door: Door, share: int = SHARE) -> None:
        """share: one step in so many is timed."""
        self._door, self._share, self._chance = door, share, 1 / share
        self._payers: dict[trio.lowlevel.Task, tuple[str, str]] = {}
        self._begun = 0.0

    def charge(self, task: trio.lowlevel.Task, peer: str, group: str) -> None:
        """From its next step on, the CPU time of `task` is charged to `peer` and its address group."""
        self._payers[task] = (peer, group)

    def release(self, task: trio.lowlevel.Task) -> None:
        """From now on the CPU time of `task` is charged to nobody, because it is paid for in another way."""
        self._payers.pop(task, None)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Trio calls this before the task's last step ends, so that step is settled here."""
        self._settle(self._payers.pop(task, None))

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        is_timed = task in self._payers and random.random() < self._chance  # not security-relevant
        self._begun = time.thread_time() if is_timed else 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._settle(self._payers.get(task))

    def _settle(self, payer: tuple[str, str] | None) -> None:
        begun, self._begun = self._begun, 0.0
        if payer is not None and begun:
            spent_ms = (time.thread_time() - begun) * 1000 * self._share
            self._door.budgets.work.spend(*payer, spent_ms, trio.current_time(), valued=self._door.valued(payer[0]))
