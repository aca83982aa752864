"""How long a case can take. Law: what a committee refuses is decided, its appeal included, before the next epoch is over, for later than that it
is no evidence (standing.py); what a race gives is decided before its weights are counted.

Every phase moves when all have spoken or when its window closes, so these are the slowest ways there are.
"""

from __future__ import annotations

from p2p.base.genesis import Genesis

MAX_DRAWS = 2  # committees drawn for one inference before silence settles it (decision 005)


def committee(genesis: Genesis) -> int:
    """Heights of one committee's work, from its draw."""
    return max(genesis.validation_window, 1) + genesis.checks.reveal_window


def case(genesis: Genesis) -> int:
    """Heights from the end of the committee that refused an answer to the last decision about it."""
    window = genesis.checks.appeal_window
    return committee(genesis) + (window + genesis.validation_delay + committee(genesis) if window else 0)


def life(genesis: Genesis) -> int:
    """Heights from a finish to the last decision about it."""
    return genesis.validation_delay + MAX_DRAWS * committee(genesis) + case(genesis)


def problem(genesis: Genesis) -> str:
    """What is wrong with the windows of these rules, and what to do about it; '' where they fit into an epoch."""
    needed, rules = case(genesis), genesis.checks
    if needed < genesis.epoch_blocks:
        return ""
    return (
        f"a dispute and its appeal may take {needed} heights (a committee {committee(genesis)}, appeal_window {rules.appeal_window}), an epoch "
        f"has {genesis.epoch_blocks}: make validation_window, reveal_window or appeal_window shorter by {needed - genesis.epoch_blocks + 1} in "
        "all, or epochs longer"
    )
