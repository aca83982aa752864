"""How long a dispute can take. Law: a refused answer is decided, its appeal included, before the next epoch is over, or
it would be no evidence any more (conduct/executor_conduct.py); a sprint's answers are decided before its weights are
counted.

A phase ends when all members have spoken or when its window closes. Everything here counts the slowest course.
"""

from __future__ import annotations

from p2p.base.genesis import Genesis

MAX_DRAWS = 2  # committees drawn for one inference before silence settles it (decision 005)


def committee(genesis: Genesis) -> int:
    """Heights that one committee takes from its draw to its decision, at most."""
    return max(genesis.validation_window, 1) + genesis.checks.reveal_window


def dispute(genesis: Genesis) -> int:
    """Heights from the decision of the committee that refused an answer to the last decision about it, at most."""
    window = genesis.checks.appeal_window
    return committee(genesis) + (window + genesis.validation_delay + committee(genesis) if window else 0)


def life(genesis: Genesis) -> int:
    """Heights from an answer's finish to the last decision about it, at most."""
    return genesis.validation_delay + MAX_DRAWS * committee(genesis) + dispute(genesis)


def problem(genesis: Genesis) -> str:
    """What is wrong with the windows of these rules, and what to do about it; '' where a dispute fits into an epoch."""
    needed, rules = dispute(genesis), genesis.checks
    if needed < genesis.epoch_blocks:
        return ""
    return (
        f"a dispute and its appeal may take {needed} heights (a committee {committee(genesis)}, appeal_window "
        f"{rules.appeal_window}), an epoch has {genesis.epoch_blocks}: make validation_window, reveal_window or "
        f"appeal_window shorter by {needed - genesis.epoch_blocks + 1} in all, or epochs longer"
    )
