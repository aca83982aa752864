"""Puts the parts of the explorer together. Law: who opens it owns its one task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2p.explorer.answers import Answers, Timing, no_timing
from p2p.explorer.app import Explorer
from p2p.explorer.follower import Follower
from p2p.explorer.source import Metered, Rate, Source
from p2p.explorer.static import load_files


@asynccontextmanager
async def open_explorer(source: Source, *, timing: Timing = no_timing, chat: bool) -> AsyncIterator[Explorer]:
    """An application that shows what `source` tells, as long as the block lasts. timing: what a gateway beside it
    measured. chat: whether that gateway is on the same port."""
    follower, rate = Follower(source), Rate()
    answers = Answers(Metered(source, Rate()), follower, timing, chat=chat)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.run)
        yield Explorer(answers, follower.feed, load_files(), rate, chat=chat)
        nursery.cancel_scope.cancel()
