"""The command `folkmoot`: parses the words, runs one command, turns its error into one line and an exit status.

Law: thin. A command imports what it needs when it runs. Whatever a user or a peer gives it ends in one clear line and
an exit status, never in a traceback, and all that is printed passes machine/foreign_text.py.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from p2p.base.errors import FolkmootError, Overloaded, StorageError
from p2p.cli.advice import advised
from p2p.cli.exit_codes import BUG, INTERRUPTED, NOBODY_READS, USAGE
from p2p.cli.parsing import overview, parse
from p2p.machine.foreign_text import Guarded, line

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # of a disk, not of this program


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit status is the error's, INTERRUPTED, or NOBODY_READS when the output was closed."""
    words = list(sys.argv[1:] if argv is None else argv)
    out, err = _open(sys.stdout), _open(sys.stderr)
    sys.stdout, sys.stderr = Guarded(out), Guarded(err)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _leave(out)
        return NOBODY_READS
    except OSError as error:  # what was printed or kept has no room
        _leave(out)
        _complain(_no_room(error), "--json" in words)
        return StorageError.exit_status
    finally:
        sys.stdout, sys.stderr = out, err


def _open(stream: TextIO | None) -> TextIO:
    """A stream; for one that the shell closed, one that takes all and keeps nothing."""
    return stream if stream is not None else open(os.devnull, "w")


def _leave(out: TextIO) -> None:
    """What could not be written is forgotten: else Python tries once more at its end, and complains."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _no_room(error: OSError) -> StorageError:
    place = error.filename or "the output"
    return StorageError(f"cannot write {place}: {error.strerror or error}; make room there, or write elsewhere")


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    try:
        if not words or words[0] in ("-h", "--help"):
            print(overview())
            return 0 if words else USAGE
        if words[0] == "--version":
            print(version())
            return 0
        options = parse(words)
        return int(options.run(options) or 0)
    except FolkmootError as error:
        _complain(error, as_json)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # the edge of the command line: a user sees a sentence, and the traceback on request
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        if os.environ.get("FOLKMOOT_TRACE"):
            traceback.print_exc()
        what = f"a fault of this program, {type(error).__name__}: {line(str(error), 200)}"
        advice = "please report it (FOLKMOOT_TRACE=1 shows where it happened)"
        _complain(FolkmootError(f"{what}; {advice}", code="internal"), as_json)
        return BUG


def version() -> str:
    """The version of this program, as it was installed."""
    from importlib import metadata

    try:
        return f"folkmoot {metadata.version('folkmoot')}"
    except metadata.PackageNotFoundError:  # run from its source
        return "folkmoot, from source"


def _complain(error: FolkmootError, as_json: bool) -> None:
    """Print an error on one line of standard error. Parts of it may be a peer's words."""
    if as_json:
        body: dict[str, Any] = {"code": error.code, "field": error.field, "message": error.message}
        if isinstance(error, Overloaded):
            body["retry_after"] = error.retry_after
        print(json.dumps({"error": body}), file=sys.stderr)
    else:
        print(f"error: {line(advised(error), 2000)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
