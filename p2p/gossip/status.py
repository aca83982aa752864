"""What the network part says of itself: budgets, bans, and why a peer is not connected. Law: data only."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class BudgetRow(Struct, frozen=True, omit_defaults=True):
    """How much of one resource is taken. A resource with a rate has `spent` and `a_second`, any other `used` and
    `of`."""

    used: int | UnsetType = UNSET
    most: int | UnsetType = UNSET  # that was ever used at once
    of: int | UnsetType = UNSET
    spent: int | UnsetType = UNSET  # since the start
    a_second: int | UnsetType = UNSET
    by_peer: int | UnsetType = UNSET  # what one peer may take
    by_group: int | UnsetType = UNSET  # what one address group may take
    refused: int = 0  # so often


class Ban(Struct, frozen=True):
    """A peer that this one bans."""

    peer: str
    seconds: int  # left
    why: str


class TroubleRow(Struct, frozen=True):
    """A peer that is not connected."""

    peer: str
    code: str
    message: str
    seconds: int  # until it is tried again
    by_them: bool  # it refuses us


class NetworkStatus(Struct, frozen=True):
    """Of one host."""

    budgets: dict[str, BudgetRow]  # by resource, as in limits.BUDGETS
    alone: str  # why nobody is connected; empty: somebody is
    banned: tuple[Ban, ...]
    refused_by: tuple[TroubleRow, ...]
    troubles: tuple[TroubleRow, ...]
    twin: str  # another process that uses this peer's key; empty: none
