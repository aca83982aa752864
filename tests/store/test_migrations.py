"""Stores of older programs: every step survives a death between any two pieces, nothing newer is opened, a dry run
changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.base.errors import StorageError
from p2p.cli.main import main
from p2p.store.batch import Batch
from p2p.store.keys import MIGRATING, SCHEMA, SCHEMA_KEY
from p2p.store.lmdb import Store
from p2p.store.migrations import STEPS, Step, migrate, plan

ROWS, EACH = 10, 3


def pieces(name: bytes) -> Step:
    """Appends `name` to every row of `payloads`, EACH to a piece: a piece done twice would show."""

    def run(store: Store, mark: bytes) -> Iterator[tuple[Batch, bytes]]:
        while keys := store.keys("payloads", mark + b"\0" if mark else b"", EACH):
            batch = Batch()
            for key in keys:
                batch.put("payloads", key, (store.read("payloads", key) or b"") + name)
            mark = keys[-1]
            yield batch, mark

    return Step(SCHEMA + (1 if name == b"a" else 2), f"rows end in {name!r}", run)


TWO = (*STEPS, pieces(b"a"), pieces(b"b"))
GOAL = SCHEMA + 2


def old(folder: Path, schema: int = SCHEMA) -> Path:
    store = Store(folder)
    batch = Batch()
    batch.put("meta", SCHEMA_KEY, bytes([schema]))
    for at in range(ROWS):
        batch.put("payloads", b"row%02d" % at, b"")
    store.commit(batch)
    store.close()
    return folder


def killed_after(folder: Path, pieces_done: int) -> None:
    """A process migrates and is killed after so many pieces are on disk."""
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from p2p.store.lmdb import Store\n"
        "from p2p.store.migrations import migrate\n"
        "from tests.store.test_migrations import GOAL, TWO\n"
        f"for at, _ in enumerate(migrate(Store(Path({str(folder)!r}), any_schema=True), TWO, GOAL), 1):\n"
        f"    if at >= {pieces_done}: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("at", range(1, 10))
def test_a_death_after_any_piece_is_made_good(tmp_path: Path, at: int) -> None:
    folder = old(tmp_path / "data")
    killed_after(folder, at)
    store = Store(folder, any_schema=True)
    list(migrate(store, TWO, GOAL))
    assert store.schema == GOAL
    assert {value for _, value in store.scan("payloads")} == {b"ab"}, "each row once by each step, in order"
    assert store.read("meta", MIGRATING) is None
    store.close()


def test_a_half_migrated_store_is_not_opened(tmp_path: Path) -> None:
    store = Store(old(tmp_path / "data"), any_schema=True)
    next(migrate(store, TWO, GOAL))
    store.close()
    with pytest.raises(StorageError, match="broken off") as caught:
        Store(tmp_path / "data")
    assert caught.value.code == "schema"


@pytest.mark.parametrize(("schema", "said"), [(SCHEMA + 1, "a newer program"), (SCHEMA - 1, "folkmoot store migrate")])
def test_another_schema_is_refused_with_what_to_do(tmp_path: Path, schema: int, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        Store(old(tmp_path / "data", schema))


def test_a_store_that_is_too_old_or_too_new_has_no_plan(tmp_path: Path) -> None:
    for schema, said in ((SCHEMA + 1, "newer"), (3, "can bring forward")):
        store = Store(old(tmp_path / str(schema), schema), any_schema=True)
        with pytest.raises(StorageError, match=said):
            plan(store)
        store.close()


def test_the_command_makes_a_backup_before_and_a_dry_run_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    old(tmp_path / "data", SCHEMA - 1)
    assert main(["store", "migrate", "--dir", str(tmp_path), "--dry-run"]) == 0
    with pytest.raises(StorageError):
        Store(tmp_path / "data")
    assert not list(tmp_path.glob("*.backup"))
    assert main(["store", "migrate", "--dir", str(tmp_path)]) == 0
    assert (tmp_path / f"before-{SCHEMA}.backup").exists()
    Store(tmp_path / "data").close()
    assert main(["store", "migrate", "--dir", str(tmp_path)]) == 0
    assert "nothing to do" in capsys.readouterr().out
