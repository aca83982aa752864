"""Whether a grammar is worth compiling here. Law: no grammar costs this process more than a short wait.

A new grammar is tried once in a process of its own, with a limit on its CPU and memory (trial.py). What came of it is
remembered. It blocks: call it in a thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path

from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.keys import digest
from p2p.base.serving_limits import (
    GRAMMAR_CPU_S,
    GRAMMAR_MEMORY,
    GRAMMAR_PATIENCE,
    GRAMMAR_TRIALS,
    GRAMMAR_WALL_S,
    GRAMMARS_TRIED,
)

_TRIAL = Path(__file__).with_name("trial.py")
_MOST_SAID = 240  # characters of llguidance's words in an error
_places = threading.BoundedSemaphore(GRAMMAR_TRIALS)
_found: OrderedDict[tuple[bytes, bool], str] = OrderedDict()
_lock = threading.Lock()


def try_grammar(lark: str, *, patient: bool = False) -> None:
    """Raises InvalidRequest(field='grammar') for a grammar that does not compile or costs too much, Unavailable where
    no process can be started. patient: with GRAMMAR_PATIENCE times the CPU, as a validator tries it."""
    key = digest(b"grammar", lark.encode()), patient
    with _lock:
        known = _found.get(key)
    if known is None:
        with _places:
            known = _run(lark, GRAMMAR_CPU_S * (GRAMMAR_PATIENCE if patient else 1))
        with _lock:
            _found[key] = known
            while len(_found) > GRAMMARS_TRIED:
                _found.popitem(last=False)
    if known:
        raise InvalidRequest(known, field="grammar")


def _run(lark: str, cpu_s: int) -> str:
    """'' for a grammar that works, else a sentence."""
    too_much = f"the grammar takes more than {cpu_s} s or {GRAMMAR_MEMORY >> 20} MiB to compile: make it simpler"
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_TRIAL), str(cpu_s), str(GRAMMAR_MEMORY)], input=lark.encode(),
            capture_output=True, timeout=GRAMMAR_WALL_S, check=False, env={"RUST_BACKTRACE": "0"},
        )
    except subprocess.TimeoutExpired:
        return too_much
    except OSError as error:
        raise Unavailable(f"a grammar cannot be tried here: {error.strerror}", field="grammar") from error
    if done.returncode < 0:  # ended by a signal: a limit
        return too_much
    try:
        said = json.loads(done.stdout)
    except ValueError as error:
        if b"MemoryError" in done.stderr:
            return too_much
        raise Unavailable(
            f"a grammar cannot be tried here: {done.stderr[-_MOST_SAID:].decode(errors='replace')}", field="grammar"
        ) from error
    return explained(said) if said else ""


def explained(error: str) -> str:
    """llguidance's error as a sentence: without the grammar's own text, which may be long."""
    first = error.split("\n", 1)[0].removesuffix("<non-verbose/>").strip()
    if "NoExtensionBias" in first:
        return "no answer can follow the grammar to its end"
    for sign in ("too many", "too big", "too large", "too complex", "fuel", "limit", "row has"):
        if sign in first:
            return f"the grammar is too large: {first}"[:_MOST_SAID]
    return f"the grammar does not compile: {first}"[:_MOST_SAID]
