"""What an operator does as executor, validator, client and owner. Law: a strategy is a small named object; it sees its
own nodes and what anybody can read on the chain, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from p2p.lab.economy.detection import FAKE, HONEST, SMART


@dataclass(frozen=True, slots=True)
class Moment:
    """What an executor knows when it is asked for an answer."""

    check_milli: int  # probability that this answer is checked, in thousandths
    reputation: int  # its own, 0 to 100
    own: bool  # its operator is the client, from an account that the chain does not know to be its own
    rng: np.random.Generator


class Checking(StrEnum):
    """What an operator does when one of its nodes is drawn to validate."""

    HONEST = "honest"
    SILENT = "silent"  # never answers
    LAZY = "lazy"  # 'valid' with invented numbers
    RING = "ring"  # 'valid' with numbers that all lazy validators of the ring agreed on
    FRIENDS = "friends"  # honest, but 'valid' to its clique's answers, with numbers slightly off, as of other kernels
    FRAME = "frame"  # honest numbers, and 'invalid' to every answer but its clique's
    CHEAP = "cheap"  # checks with int8 weights and finds everything valid; its numbers are near the right ones
    LOUD = "loud"  # the same, but says 'invalid' to cheats that int8 weights can tell from honest answers


class Dealing(StrEnum):
    """From which account an operator asks its own nodes."""

    NONE = "none"  # it does not
    KNOWN = "known"  # its own
    UNKNOWN = "unknown"  # one that the chain does not know to be its own


class Attack(StrEnum):
    """What it does against others, or against the rules, without any cost of computing (attacks.py explains each)."""

    NONE = "none"
    PREFIX = "prefix"
    WITHHOLD = "withhold"
    UNAVAILABLE = "unavailable"
    AGENTS = "agents"
    UNFINISHED = "unfinished"
    HEIGHTS = "heights"
    PUMP = "pump"
    SQUAT = "squat"


Answer = Callable[[Moment], str]  # -> kind of answer: a key of detection.CASES, or FAKE


@dataclass(frozen=True, slots=True)
class Strategy:
    name: str
    does: str  # in a sentence, for the tables
    answer: Answer
    checking: Checking = Checking.HONEST
    # of its duties, those it does as `checking` says when that is SILENT, LAZY or RING; the others honestly
    lazy_share: float = 1.0
    kernels: str = ""  # the name that all operators of a ring of strangers give their kernels; '': each its own
    stranger: bool = False  # names kernels that nobody calibrated, so every validator tests it as across stacks
    foreign: bool = False  # as validator it is on the minority's stack; else by chance
    nodes: int = 1  # its machine is split into so many
    owners: int = 1  # of so many accounts
    dealing: Dealing = Dealing.NONE
    dealt: float = 1.0  # what it asks of itself, as a multiple of its honest traffic
    leaves: bool = False  # once convicted, for a new key and account
    attack: Attack = Attack.NONE


def always(kind: str) -> Answer:
    return lambda moment: kind


def sometimes(kind: str, share: float) -> Answer:
    return lambda moment: kind if moment.rng.random() < share else HONEST


def below(kind: str, check_milli: int) -> Answer:
    """Cheats while its answers are checked with less than `check_milli` thousandths; a strike makes it honest again."""
    return lambda moment: kind if moment.check_milli < check_milli else HONEST


def trusted(kind: str, reputation: int) -> Answer:
    """Builds reputation, then cheats in every answer until the reputation is gone."""
    return lambda moment: kind if moment.reputation >= reputation else HONEST


def only_own(kind: str) -> Answer:
    """Honest to others; computes nothing for its own requests."""
    return lambda moment: kind if moment.own else HONEST


TRUSTED = 50  # reputation after ten clean epochs
BELOW = 300  # probability of a check, in thousandths
HONESTY = Strategy("honest", "computes, checks, asks nobody", always(HONEST))
ALL = (
    HONESTY,
    Strategy("int8", "int8 weights, always", always("int8")),
    Strategy("smaller model", "a smaller model, always", always("smaller_model")),
    Strategy("10 % int4", "int4 weights in one answer of ten", sometimes("int4", 0.1)),
    Strategy("laundered int8", "int8 text, honest numbers, always", always("laundered_int8")),
    Strategy(
        "stranger int8", "the same, naming kernels nobody calibrated: tested across stacks", always("laundered_int8"),
        stranger=True,
    ),
    Strategy(
        "smart stranger", "int8 drafts kept where they lead, as a stranger: no check sees it", always(SMART),
        stranger=True,
    ),
    Strategy(
        "ring of smart strangers", "the same, all under one name of kernels, with accounts of their own", always(SMART),
        stranger=True, kernels="kernels of a ring",
    ),
    Strategy("honest stranger", "computes, alone on its kernels", always(HONEST), stranger=True),
    Strategy(
        "build, then cheat", f"honest to reputation {TRUSTED}, then laundered int4 in everything",
        trusted("laundered_int4", TRUSTED),
    ),
    Strategy(
        "patient", f"laundered int4 whenever the chain checks it with less than {BELOW / 1000:g}",
        below("laundered_int4", BELOW),
    ),
    Strategy(
        "patient stranger", "the same with laundered int8, as a stranger", below("laundered_int8", BELOW),
        stranger=True,
    ),
    Strategy(
        "whitewash", "a smaller model until convicted, then a new key and account", always("smaller_model"), leaves=True
    ),
    Strategy("silent validator", "answers no duty", always(HONEST), Checking.SILENT),
    Strategy("lazy validator", "'valid' with invented numbers", always(HONEST), Checking.LAZY),
    Strategy("lazy ring", "the same, all of them with the same numbers", always(HONEST), Checking.RING),
    Strategy("lazy in 2 %", "lazy in one duty of fifty", always(HONEST), Checking.LAZY, lazy_share=0.02),
    Strategy(
        "lazy, rare stack", "'valid' with invented numbers, on the stack of the minority", always(HONEST),
        Checking.LAZY, foreign=True,
    ),
    Strategy("cheap checks", "checks with int8 weights and finds everything valid", always(HONEST), Checking.CHEAP),
    Strategy(
        "cheap checks, loud", "checks with int8 weights and sees what is louder than these", always(HONEST),
        Checking.LOUD,
    ),
    Strategy(
        "clique", "a smaller model in one answer of five; as validators: friends are valid",
        sometimes("smaller_model", 0.2),
        Checking.FRIENDS,
    ),
    Strategy("framing", "honest work; says 'invalid' to everybody else's", always(HONEST), Checking.FRAME),
    Strategy("Sybil, one account", "one machine as four nodes of one account", always(HONEST), nodes=4),
    Strategy("Sybil, four accounts", "one machine as four nodes of four accounts", always(HONEST), nodes=4, owners=4),
    Strategy(
        "deals with itself, known", "asks its own nodes from its own account", always(HONEST), dealing=Dealing.KNOWN,
    ),
    Strategy(
        "deals with itself, unknown", "asks its own nodes from an account nobody knows, computes", always(HONEST),
        dealing=Dealing.UNKNOWN,
    ),
    Strategy("deals and fakes", "the same, and computes nothing for it", only_own(FAKE), dealing=Dealing.UNKNOWN),
)
VICTIM = "victim"
ATTACKS = (
    Strategy(
        "frames by prefix", "as an agent, hands whole answers on as if others had begun them", always(HONEST),
        attack=Attack.PREFIX,
    ),
    Strategy(
        "frames by withholding", "gives its payloads to all validators but the victims", always(HONEST),
        attack=Attack.WITHHOLD,
    ),
    Strategy(
        "frames by unavailability", "as agent and client, floods the victim while its answers are checked",
        always(HONEST),
        attack=Attack.UNAVAILABLE,
    ),
    Strategy(
        "free agents", "one more agent without weight each epoch, each says other than the executor", always(HONEST),
        attack=Attack.AGENTS,
    ),
    Strategy(
        "unfinished Starts", "as an agent with weight, starts what it never hands on", always(HONEST),
        attack=Attack.UNFINISHED,
    ),
    Strategy(
        "chooses heights", "as an agent, refuses until its friend is drawn first", always(HONEST), nodes=2, owners=2,
        attack=Attack.HEIGHTS,
    ),
    Strategy(
        "pumps the price", "answers never made, refunded, as many as use all capacity", always(HONEST),
        attack=Attack.PUMP,
    ),
    Strategy(
        "pumps and pays", "asks its own node three times its honest traffic, computes", always(HONEST),
        dealing=Dealing.UNKNOWN, dealt=3.0,
    ),
    Strategy(
        "chooses nonces", "asks its own node its honest traffic again, computes", always(HONEST),
        dealing=Dealing.UNKNOWN,
    ),
    Strategy(
        "squats places", "takes all places of the registry and every one that is lost", always(HONEST),
        attack=Attack.SQUAT,
    ),
)
_VICTIM = Strategy(VICTIM, "honest, and whom the attack is aimed at", always(HONEST))
BY_NAME = {strategy.name: strategy for strategy in (*ALL, _VICTIM, *ATTACKS)}
