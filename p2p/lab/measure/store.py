"""Keeps what was measured on disk.

Law: a file is whole or absent, so a stopped run continues where it was.

DIR/answers/RUN.json.gz    the answer to each prompt, with the numbers that were published
DIR/rows/RUN@STACK.npz     what a validator's stack says of those tokens
DIR/parts/...              the same of runs that are not whole yet
DIR/seconds.json           how long things took
DIR/tables.json            small tables that were measured on the way
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p.verification.engine import Row, TokenStep
from p2p.verification.marks import MarkedRow


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a run."""

    prompt: str  # its id
    seed: str  # of the tape, hexadecimal
    prompt_tokens: tuple[int, ...]  # under the chat template
    steps: tuple[TokenStep, ...]  # tokens with the published log-probabilities

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of the answer's tokens."""
        return tuple(step.token for step in self.steps)


class Measured:
    """A folder of results."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for part in ("answers", "rows"):
            (directory / part).mkdir(parents=True, exist_ok=True)

    def _answers(self, run: str) -> Path:
        return self.directory / "answers" / f"{run}.json.gz"

    def _rows(self, run: str, stack: str) -> Path:
        return self.directory / "rows" / f"{run}@{stack}.npz"

    def names(self) -> list[str]:
        """Runs that have answers."""
        return sorted(path.name.removesuffix(".json.gz") for path in (self.directory / "answers").glob("*.json.gz"))

    def has_answers(self, run: str) -> bool:
        return self._answers(run).exists()

    def has_rows(self, run: str, stack: str) -> bool:
        return self._rows(run, stack).exists()

    def parts(self) -> Measured:
        """A folder for what is not whole yet."""
        return Measured(self.directory / "parts")

    def drop(self, *, answers: str = "", rows: tuple[str, str] = ("", "")) -> None:
        """Delete the answers of a run, or its rows by a stack."""
        if answers:
            self._answers(answers).unlink(missing_ok=True)
        if rows[0]:
            self._rows(*rows).unlink(missing_ok=True)

    def put_answers(self, run: str, answers: Sequence[Answer]) -> None:
        body = [[a.prompt, a.seed, a.prompt_tokens, [[s.token, s.logprob, s.top] for s in a.steps]] for a in answers]
        _write(self._answers(run), gzip.compress(json.dumps(body).encode(), 6))

    def answers(self, run: str) -> list[Answer]:
        body = json.loads(gzip.decompress(self._answers(run).read_bytes()))
        return [
            Answer(
                prompt, seed, tuple(ids),
                tuple(TokenStep(t, "", lp, tuple((i, p) for i, p in top)) for t, lp, top in steps)
            )
            for prompt, seed, ids, steps in body
        ]

    def put_rows(self, run: str, stack: str, rows: Sequence[Sequence[Row]]) -> None:
        """rows: for each answer, one row of {token: log-probability} for each of its tokens."""
        flat = [row for answer in rows for row in answer]
        width = max(map(len, flat), default=0)
        ids, logprobs = np.full((len(flat), width), -1, np.int32), np.zeros((len(flat), width), np.float32)
        for at, row in enumerate(flat):
            ids[at, : len(row)], logprobs[at, : len(row)] = list(row), list(row.values())
        named = np.array([(r.winner, r.least) if isinstance(r, MarkedRow) else (-1, -1) for r in flat], np.int32)
        target = self._rows(run, stack)
        scratch = target.with_suffix(".tmp.npz")
        np.savez_compressed(
            scratch, ids=ids, logprobs=logprobs, lengths=np.array([len(a) for a in rows]), marks=named.reshape(-1, 2)
        )
        os.replace(scratch, target)

    def rows(self, run: str, stack: str) -> list[list[Row]]:
        with np.load(self._rows(run, stack)) as data:
            ids, lengths = data["ids"].tolist(), data["lengths"].tolist()
            logprobs = data["logprobs"].astype(float).tolist()
            marks = data["marks"].tolist() if "marks" in data else [(-1, -1)] * len(ids)
        flat = [
            _row({i: p for i, p in zip(a, b, strict=True) if i >= 0}, *named)
            for a, b, named in zip(ids, logprobs, marks, strict=True)
        ]
        found, at = [], 0
        for length in lengths:
            found.append(list[Row](flat[at : at + length]))
            at += length
        return found

    def note(self, file: str, key: str, value: object) -> None:
        """Set one entry of FILE.json ('seconds', 'tables', ...)."""
        body = json.dumps({**self.noted(file), key: value}, indent=1, sort_keys=True)
        _write(self.directory / f"{file}.json", body.encode())

    def noted(self, file: str) -> dict[str, Any]:
        """All entries of FILE.json; none where there is no such file."""
        path = self.directory / f"{file}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}


def _row(row: dict[int, float], winner: int, least: int) -> Row:
    """winner, least: -1 where the row is not marked."""
    return row if winner < 0 else MarkedRow(row, winner, least)


def _write(target: Path, data: bytes) -> None:
    scratch = target.with_name(target.name + ".tmp")
    scratch.write_bytes(data)
    os.replace(scratch, target)
