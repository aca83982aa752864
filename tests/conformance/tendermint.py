"""Traces of the executable Tendermint specification: whole validators, the vote keeper, the bare state machine,
thresholds.

The adapters translate names only. Where the model itself departs from the paper, its README says so, and so do the
comments here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from p2p.base.types import VERSION
from p2p.consensus.machine import Machine
from p2p.consensus.messages import NIL_ROUND, Block, Header, Proposal, SignedProposal, SignedVote, Vote, VoteType
from p2p.consensus.round import (
    CastVote,
    Decide,
    Effect,
    Propose,
    RoundState,
    ScheduleTimeout,
    SkipRound,
    Step,
    TimeoutKind,
)
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper
from tests.conformance.case import Case, files, read

FAR = 10**6  # the model buffers every round
ZERO, SIG = bytes(32), bytes(64)
KINDS = {"prevote": VoteType.PREVOTE, "precommit": VoteType.PRECOMMIT}
TIMERS = {"propose": TimeoutKind.PROPOSE, "prevote": TimeoutKind.PREVOTE, "precommit": TimeoutKind.PRECOMMIT}
STEPS = {
    Step.NEW: "none", Step.UNSTARTED: "unstarted", Step.PROPOSE: "propose", Step.PREVOTE: "prevote",
    Step.PRECOMMIT: "precommit",
    Step.DECIDED: "commit",
}


def key(name: str) -> bytes:
    return name.encode().ljust(32, b"\0")


STATE = ("r", "step", "locked_value", "locked_round", "valid_value", "valid_round")


def block_of(value: str) -> Block:
    """A block that stands for a value of the model."""
    name = value.encode().ljust(32, b"\0")
    return Block(Header(VERSION, "itf", 0, 0, 0, name, ZERO, ZERO, ZERO, ZERO, ZERO, b"", ZERO), (), None)


class Values:
    """Model values and block ids, both ways."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def id(self, value: str | None) -> bytes | None:
        if value is None:
            return None
        block_id = block_of(value).block_id
        self._names[block_id] = value
        return block_id

    def name(self, block_id: bytes | None) -> str | None:
        return None if block_id is None else self._names[block_id]


class ModelVotes(VoteKeeper):
    """The model's votes carry no valid round, so a quorum is one for the value alone."""

    def weight_for(self, round_: int, kind: VoteType, block_id: bytes | None, valid_round: int | None = None) -> int:
        del valid_round
        return super().weight_for(round_, kind, block_id)


def vote_of(values: Values, plain: dict[str, Any]) -> SignedVote:
    return SignedVote(
        Vote(
            "itf", KINDS[plain["kind"]], plain["h"], plain["r"], values.id(plain["value"]), NIL_ROUND,
            key(plain["src"]),
        ),
        SIG,
    )


# -- whole validators ---------------------------------------------------------------------------------------------


class Validator:
    """One validator of a distributed trace, fed with external inputs only."""

    def __init__(self, name: str, trace: dict[str, Any], values: Values) -> None:
        self.name, self.trace, self.values = name, trace, values
        self.members = ValidatorSet.of([(key(n), w) for n, w in trace["weights"].items()])
        self.height = -1
        self.waiting: dict[int, list[dict[str, Any]]] = {}
        self.pending: Propose | None = None

    def begin(self, height: int) -> None:
        names = sorted(self.trace["weights"])
        self.height = height
        keeper = ModelVotes(self.members, FAR)
        self.machine = Machine(
            key(self.name), self.members, lambda r: key(names[(r + 1) % len(names)]), max_future=FAR, keeper=keeper
        )
        self.pending = None

    def feed(self, step: dict[str, Any]) -> list[Effect]:
        given = step["in"]
        out: list[Effect] = []
        kind = given["t"]
        if kind == "start" or "preload" in step:
            self._preload(step.get("preload", {"votes": [], "certificates": []}))
            out += self.machine.start()
            for later in self.waiting.pop(self.height, []):
                out += self._external(later)
        elif kind in ("proposal", "vote", "certificate", "timeout", "propose_value"):
            out += self._external(given)
        return out

    def _preload(self, preload: dict[str, Any]) -> None:
        """Counted silently before round 0."""
        for plain in preload["votes"]:
            self.machine.votes.add(vote_of(self.values, plain), 0)
        for votes in preload["certificates"]:
            for plain in votes if isinstance(votes, list) else votes["votes"]:
                self.machine.votes.add_of_quorum(vote_of(self.values, plain))

    def _external(self, given: dict[str, Any]) -> list[Effect]:
        kind = given["t"]
        height = given["votes"][0]["h"] if kind == "certificate" else given["h"]
        if height > self.height:
            self.waiting.setdefault(height, []).append(given)
        if height != self.height:
            return []
        if kind == "timeout":
            return self.machine.on_timeout(TIMERS[given["kind"]], given["r"])
        if kind == "vote":
            return self.machine.on_vote(vote_of(self.values, given))
        if kind == "certificate":
            return self.machine.on_certificate([vote_of(self.values, plain) for plain in given["votes"]])
        if kind == "propose_value":
            return [Propose(given["r"], self.values.id(given["value"]), NIL_ROUND)]
        block = block_of(given["value"])
        self.values.id(given["value"])
        body = Proposal("itf", given["h"], given["r"], block.block_id, given["vr"], key(given["src"]))
        return self.machine.on_proposal(SignedProposal(body, SIG, block), given["value"] != "invalid")

    def seen(self, effects: list[Effect]) -> list[tuple[Any, ...]]:
        """Votes, proposals and decisions, as the trace writes them."""
        found: list[tuple[Any, ...]] = []
        for effect in effects:
            if isinstance(effect, CastVote):
                kind = "prevote" if effect.type is VoteType.PREVOTE else "precommit"
                found.append(("vote", kind, effect.round, self.values.name(effect.block_id)))
            elif isinstance(effect, Propose) and effect.block_id is not None:
                found.append(("proposal", effect.round, self.values.name(effect.block_id), effect.valid_round))
            elif isinstance(effect, Decide):
                found.append(("decided", effect.round, self.values.name(effect.block_id)))
        return found

    def state(self) -> tuple[Any, ...]:
        m = self.machine
        locked, valid = m.locked or (None, NIL_ROUND), m.valid or (None, NIL_ROUND)
        return (
            m.round, STEPS[m.step], self.values.name(locked[0]), locked[1], self.values.name(valid[0]), valid[1],
        )


def _expected(out: dict[str, Any]) -> list[tuple[Any, ...]]:
    if out["t"] == "vote":
        return [("vote", out["kind"], out["r"], out["value"])]
    if out["t"] == "proposal":
        return [("proposal", out["r"], out["value"], out["vr"])]
    return [("decided", out["r"], out["value"])] if out["t"] == "decided" else []


def _at(mark: Any) -> int:
    """The index a mark of `compare` names; beyond the end when there is none."""
    if isinstance(mark, list):
        mark = mark[0] if mark else None
    return 10**9 if mark is None else int(mark["at"] if isinstance(mark, dict) else mark)


EXTERNAL = ("start", "propose_value", "proposal", "vote", "certificate", "timeout")


def _segments(steps: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """One external input and the internal steps that follow it; new_height stands alone."""
    current: list[dict[str, Any]] = []
    for step in steps:
        outside = step["act"] == "new_height" or step["in"]["t"] in EXTERNAL or "preload" in step
        if outside and current:
            yield current
            current = []
        current.append(step)
    if current:
        yield current


def check_trace(trace: dict[str, Any]) -> None:
    for name in trace["correct"]:
        _check_validator(name, trace)


def _check_validator(name: str, trace: dict[str, Any]) -> None:
    values = Values()
    validator = Validator(name, trace, values)
    validator.begin(0)
    compare = trace["compare"].get(name, {})
    stop = min(_at(compare.get("diverges")), _at(compare.get("unfinished_last_segment")))
    loose = _at(compare.get("state_differs"))
    decided = False
    steps = [s for s in trace["steps"] if s.get("v") == name and s["act"] in ("step", "new_height")]
    for segment in _segments(steps):
        first, last = segment[0], segment[-1]
        if any(s["i"] >= stop for s in segment):
            return
        if first["act"] == "new_height":
            validator.begin(first["h"])
            decided = False
            continue
        got = validator.seen(validator.feed(first))
        if decided:
            continue
        wanted = [row for s in segment for row in _expected(s["out"])]
        assert got == wanted, f"{trace['name']} {name} at {first['i']}: {got} instead of {wanted}"
        decided = any(row[0] == "decided" for row in wanted)
        if "internal_pending_after" not in last and last["i"] < loose and not decided:
            post = last["post"]
            state = tuple(post[name] for name in STATE)
            assert validator.state() == state, (
                f"{trace['name']} {name} after {last['i']}: {validator.state()} instead of {state}"
            )


# -- the vote keeper ----------------------------------------------------------------------------------------------


def check_votekeeper(trace: dict[str, Any]) -> None:
    values = Values()
    members = ValidatorSet.of([(key(n), w) for n, w in trace["weights"].items()])
    keeper, said = VoteKeeper(members, FAR), set[tuple[Any, ...]]()
    for step in trace["steps"]:
        signed, now = vote_of(values, step["vote"]), step["current_round"]
        keeper.add(signed, now)
        wanted = step["out"]
        got = _threshold(keeper, members, signed.vote, now, values, said)
        assert got == (wanted["t"], wanted.get("r", signed.vote.round), wanted.get("value")), (
            f"{trace['name']} at {step['i']}: {got}"
        )


def _threshold(
    keeper: VoteKeeper, members: ValidatorSet, vote: Vote, now: int, values: Values, said: set[tuple[Any, ...]]
) -> tuple[str, int, str | None]:
    """What this vote made true, in the model's words."""
    if vote.round > now and members.has_honest(keeper.weight_in_round(vote.round)):
        return "skip", vote.round, None
    word = "polka" if vote.type is VoteType.PREVOTE else "precommit"
    event: tuple[str, int, str | None] = ("none", vote.round, None)
    if members.is_quorum(keeper.weight_for(vote.round, vote.type, vote.block_id)):
        nil = "polka_nil" if word == "polka" else "precommit_any"
        event = (nil, vote.round, None) if vote.block_id is None else (
            f"{word}_value", vote.round, values.name(vote.block_id)
        )
    elif members.is_quorum(keeper.weight_any(vote.round, vote.type)):
        event = (f"{word}_any", vote.round, None)
    if event in said:
        return "none", vote.round, None
    if event[0] != "none":
        said.add(event)
    return event


# -- the bare state machine ---------------------------------------------------------------------------------------


def check_machine(trace: dict[str, Any]) -> None:
    values, state = Values(), RoundState()
    for step in trace["steps"]:
        given, wanted, post = step["in"], step["out"], step["post"]
        if given["t"] == "proposal_and_polka_invalid" and state.step is not Step.PROPOSE:
            return  # the model prevotes nil in any step there, which is its own
        got = _said(_apply(state, given, values, post["h"]), values)
        expected = "none" if wanted["t"] in ("none", "error") else _out(wanted)
        assert got == expected, f"{trace['name']} at {step['i']}: {got} instead of {expected}"
        locked, valid = state.locked or (None, NIL_ROUND), state.valid or (None, NIL_ROUND)
        mine = (state.round, STEPS[state.step], values.name(locked[0]), locked[1], values.name(valid[0]), valid[1])
        theirs = tuple(post[name] for name in STATE)
        assert mine == theirs, f"{trace['name']} after {step['i']}: {mine} instead of {theirs}"


def _apply(state: RoundState, given: dict[str, Any], values: Values, height: int) -> Effect | None:
    kind, round_ = given["t"], given.get("r", NIL_ROUND)
    value = values.id(given.get("value"))
    if kind in ("new_round", "new_round_proposer"):
        return state.new_round(round_, proposer=kind == "new_round_proposer")
    if kind == "propose_value":
        # the driver's part: what was built is proposed
        return Propose(state.round, value, state.valid[1] if state.valid else NIL_ROUND)
    if kind == "proposal":
        return state.proposal(value or b"", valid=True)
    if kind in ("proposal_invalid", "proposal_and_polka_invalid"):
        return state.proposal(b"", valid=False)
    if kind == "proposal_and_polka_previous":
        return state.proposal_with_polka(value or b"", given["vr"], valid=True)
    if kind == "proposal_and_polka_current":
        return state.polka(value or b"")
    if kind == "proposal_and_commit":
        return state.commit(value or b"", round_)
    if kind == "round_skip":
        return state.skip(round_)
    if kind.startswith("timeout_"):
        return state.timeout(TIMERS[kind.removeprefix("timeout_")], round_) if given["h"] == height else None
    plain = {"polka_any": state.polka_any, "polka_nil": state.polka_nil, "precommit_any": state.precommit_any}
    return plain[kind]()


def _said(effect: Effect | None, values: Values) -> Any:
    if isinstance(effect, Propose):
        return "get_value" if effect.block_id is None else (
            "proposal", effect.round, values.name(effect.block_id), effect.valid_round
        )
    if isinstance(effect, CastVote):
        kind = "prevote" if effect.type is VoteType.PREVOTE else "precommit"
        return "vote", kind, effect.round, values.name(effect.block_id)
    if isinstance(effect, ScheduleTimeout):
        return "schedule_timeout", effect.round, effect.kind.name.lower()
    if isinstance(effect, SkipRound):
        return "skip_round", effect.round
    return ("decided", effect.round, values.name(effect.block_id)) if isinstance(effect, Decide) else "none"


def _out(out: dict[str, Any]) -> Any:
    if out["t"] in ("vote", "proposal", "decided"):
        return _expected(out)[0]
    if out["t"] == "schedule_timeout":
        return "schedule_timeout", out["r"], out["kind"]
    return ("skip_round", out["r"]) if out["t"] == "skip_round" else out["t"]


# -- the families -------------------------------------------------------------------------------------------------


def _traces(folder: Path, sub: str, check: Any) -> Iterator[Case]:
    for path in files(folder / "tendermint-itf" / sub, "*.flat.json.gz"):
        yield Case(f"{sub}/{path.name.removesuffix('.flat.json.gz')}", partial(_run, path, check))


def _run(path: Path, check: Any) -> None:
    check(read(path))


def directed(folder: Path) -> Iterator[Case]:
    return _traces(folder, "directed", check_trace)


def random(folder: Path) -> Iterator[Case]:
    return _traces(folder, "random", check_trace)


def votekeeper(folder: Path) -> Iterator[Case]:
    return _traces(folder, "votekeeper", check_votekeeper)


def machine(folder: Path) -> Iterator[Case]:
    return _traces(folder, "consensus", check_machine)
