"""Which ML nodes are drained: DIR/drained.json, a list of names.

Law: a node that its owner drained gets no work after a restart either, until `folkmoot ml drain NAME --undo`. A file
that is not such a list stops the peer with a sentence, and is never taken for 'nothing is drained'.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from p2p.base.errors import ConfigError
from p2p.base.files import exists, read_file, write_file

FILE = "drained.json"
MAX_DRAINED = 64 * 1024  # bytes


def read_drained(directory: Path) -> tuple[str, ...]:
    """Names. Raises ConfigError(field='ml_nodes')."""
    file = directory / FILE
    if not exists(file):
        return ()
    try:
        return tuple(msgspec.json.decode(read_file(file, MAX_DRAINED, field="ml_nodes"), type=list[str]))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(
            f"{file} is not a list of names; remove it, and drain again what shall get no work", field="ml_nodes"
        ) from error


def note_drained(directory: Path, name: str, *, on: bool) -> None:
    """Keep that `name` is drained, or that it is not. Raises ConfigError, StorageError; then nothing has changed."""
    before = read_drained(directory)
    after = [one for one in before if one != name] + [name] * on
    if list(before) != after:
        write_file(directory / FILE, msgspec.json.encode(after), field="ml_nodes")
