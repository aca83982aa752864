"""The proved tips of peers that are asked often, kept fresh while they are: so a question needs no round trip before it
is signed.

Law: a tip is used for TIP_GOOD_S, less than an agent allows (BEACON_MAX_AGE heights). A peer is asked for tips in the
background only while questions go to it. What a tip says of nonces is a hint here: the next nonce comes from those
that were used (nonces.py), so a tip is not kept for an account that remembers none.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import trio

from p2p.base.errors import FolkmootError
from p2p.base.serving_limits import MAX_KEPT_TIPS, TIP_ASK_S, TIP_GOOD_S, TIP_USED_S
from p2p.client.tip_proof import Ground, Prover


@dataclass(slots=True)
class _Kept:
    """One peer's tip for one account and one model."""

    prover: Prover
    account: bytes
    model: str
    notices_since: int
    ground: Ground
    asked_at: float  # on trio's clock, of the ground
    used_at: float
    was_kept: bool = False  # a question used it that had not asked for it


_Name = tuple[str, bytes, str]


class RecentTips:
    """Of one client. `run` keeps them fresh; without it each is asked for when it is older than TIP_GOOD_S."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Name, _Kept] = OrderedDict()

    async def ground(self, prover: Prover, account: bytes, model: str, notices_since: int = 0) -> Ground:
        """A tip that the peer showed lately, or shows now. Raises as Prover.ground."""
        name, now = (prover.peer, account, model), trio.current_time()
        kept = self._kept.get(name)
        if kept is not None and now < kept.asked_at + TIP_GOOD_S and kept.notices_since <= notices_since:
            kept.used_at, kept.was_kept = now, True
            self._kept.move_to_end(name)
            return kept.ground
        ground = await prover.ground(account, model, notices_since)
        self._kept[name] = _Kept(prover, account, model, notices_since, ground, now, now)
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_KEPT_TIPS:
            self._kept.popitem(last=False)
        return ground

    def forget(self, peer: str, account: bytes, model: str) -> bool:
        """The peer calls it too old: ask next time. Returns whether a newer one may help, because it was a kept one."""
        kept = self._kept.pop((peer, account, model), None)
        return kept is not None and kept.was_kept

    async def run(self) -> None:
        """Until cancelled: ask again for those that are used."""
        while True:
            await trio.sleep(TIP_ASK_S)
            for name, kept in tuple(self._kept.items()):
                await self._renew(name, kept)

    async def _renew(self, name: _Name, kept: _Kept) -> None:
        now = trio.current_time()
        if now > kept.used_at + TIP_USED_S:
            if self._kept.get(name) is kept:
                del self._kept[name]
            return
        with suppress(FolkmootError):  # who asks next is told
            ground = await kept.prover.ground(kept.account, kept.model, kept.notices_since)
            if self._kept.get(name) is kept:
                kept.ground, kept.asked_at = ground, now
