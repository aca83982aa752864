"""A model's tokenizer and chat template, fetched from peers and kept on disk.

Law: a file is what its SHA-256 says, whoever sent it, and also when it is read from the disk again. The cache is
bounded; what was used longest ago makes room.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.files import make_folder, read_file, write_file
from p2p.base.serving_limits import MODEL_CACHE
from p2p.client.model_card import ModelCard
from p2p.wire.answers.model_files import ModelFileAnswer
from p2p.wire.answers.reading import read

if TYPE_CHECKING:
    from p2p.text.model_text import ModelText

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is needed to make a prompt's tokens as every peer makes them (p2p/text)."""

    card: ModelCard
    tokenizer: bytes  # tokenizer.json
    template: str | None  # the chat template's text; None: the model has none

    def load(self) -> ModelText:
        """The model's text: it takes up to a second, so call it in a thread. Raises ConfigError for files that this
        version cannot read."""
        from p2p.text.model_text import load_model_text  # most programs count no tokens

        tokens = dict(self.card.template_tokens)
        return load_model_text(self.tokenizer, self.template, tokens, tool_format=self.card.tool_format)


async def fetch_file(ask: Ask, peer: str, wanted: bytes, limit: int) -> bytes:
    """The file whose SHA-256 is `wanted`, from one peer, part by part. limit: bytes that it may have. Raises the peer's
    error, or RemoteProtocolError where it sent something else."""
    raw, size = bytearray(), None
    while size is None or len(raw) < size:
        said = await ask({"op": "model_file", "hash": wanted.hex(), "offset": len(raw)})
        part = read(ModelFileAnswer, said, "model_file", peer)
        data = bytes.fromhex(part.data)
        is_next = part.hash == wanted.hex() and part.offset == len(raw) and size in (None, part.size)
        if not is_next or not 0 < len(data) <= part.size - len(raw) or part.size > limit:
            raise RemoteProtocolError(
                f"peer {peer} sent another part of a file than was asked for, or one of more than {limit} bytes",
                field="model_file",
            )
        size = part.size
        raw += data
    if hashlib.sha256(raw).digest() != wanted:
        raise RemoteProtocolError(f"peer {peer} sent another file than was asked for", field="model_file")
    return bytes(raw)


@dataclass(frozen=True, slots=True)
class ModelCache:
    """Files by their hash, in one folder. A folder that cannot be written keeps nothing."""

    folder: Path
    limit: int = MODEL_CACHE  # bytes

    def get(self, wanted: bytes) -> bytes | None:
        """The file, if it is here and undamaged."""
        file = self.folder / wanted.hex()
        try:
            raw = read_file(file, self.limit, field="dir")
        except FolkmootError:
            return None
        if hashlib.sha256(raw).digest() != wanted:
            with suppress(OSError):
                file.unlink()
            return None
        with suppress(OSError):
            os.utime(file)
        return raw

    def put(self, wanted: bytes, raw: bytes) -> None:
        """Keep it, and remove what was used longest ago until all fits."""
        with suppress(FolkmootError, OSError):
            make_folder(self.folder)
            self._make_room(len(raw))
            write_file(self.folder / wanted.hex(), raw, field="dir")

    def _make_room(self, size: int) -> None:
        found = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self.folder.iterdir())
        held = sum(size for _, size, _ in found)
        for _, size_of_it, file in found:
            if held + size <= self.limit:
                return
            file.unlink()
            held -= size_of_it
        if size > self.limit:
            raise Unavailable("the file is larger than the cache", field="dir")
