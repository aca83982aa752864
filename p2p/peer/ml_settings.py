"""`[[ml_nodes]]` of config.toml: several ML nodes of one peer.

Law: what `folkmoot ml` changes in the file is one entry; every other line stays as its owner wrote it. A change that
would not be read back as it was meant is not made.

The old settings of one node (`ml_node`, `model_path` and those beside them) stay and are the node `default`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from p2p.base.errors import ConfigError
from p2p.base.files import exists, read_file, write_file
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_JOBS_PER_PEER, MAX_ML_NODES, MAX_NODE_JOBS
from p2p.base.toml_file import MAX_TOML, dump_toml

DEFAULT = "default"  # name of the node that the old settings describe
HEAD = "[[ml_nodes]]"
MAX_PARALLEL = 64  # devices that one engine may be spread over in one way

Text = Annotated[str, Meta(max_length=4096)]
Ways = Annotated[int, Meta(ge=1, le=MAX_PARALLEL)]


class MlNodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry. Either `url` or `path` is given."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")]
    model: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]  # as the registry names it
    url: Text | None = None  # of a vLLM that runs already: http, https or unix:/PATH
    path: Path | None = None  # folder with the weights: the peer starts and supervises a vLLM for them
    key_file: Path | None = None  # file with the API key, for a url
    tokenizer: Path | None = None  # tokenizer.json or its folder; None: in `path`, else where the shipped model is kept
    flags: tuple[Text, ...] = ()  # passed to vLLM as they are, such as --device-ids=0,1
    tensor_parallel: Ways = 1  # devices that each layer is spread over
    pipeline_parallel: Ways = 1  # groups of layers, each on devices of its own
    max_jobs: Annotated[int, Meta(ge=1, le=MAX_NODE_JOBS)] = MAX_JOBS_PER_PEER  # at once

    @property
    def engine_flags(self) -> tuple[str, ...]:
        """vLLM's, the user's last."""
        ways = (("tensor", self.tensor_parallel), ("pipeline", self.pipeline_parallel))
        return (*(f"--{name}-parallel-size={count}" for name, count in ways if count > 1), *self.flags)

    @property
    def where(self) -> str:
        return self.url or str(self.path)


def check_ml_node(one: MlNodeSettings) -> None:
    """What must hold between the parts of an entry. Raises ConfigError(field='ml_nodes') that names the entry."""
    for text in (one.model, one.url or "", *map(str, (one.path, one.key_file, one.tokenizer)), *one.flags):
        if not text.isprintable():
            raise _wrong(one, "only characters that can be printed are allowed")
    if (one.url is None) == (one.path is None):
        raise _wrong(one, "give a url or a path, one of them")
    if one.url is not None:
        if not one.url.startswith(("http://", "https://", "unix:/")):
            raise _wrong(one, f"{one.url[:200]} is neither an http URL nor unix:/PATH")
        if one.engine_flags:
            raise _wrong(one, "flags and parallel sizes are for a vLLM that the peer starts; it is given by url")
    elif one.key_file is not None:
        raise _wrong(one, "key_file is for a url; the vLLM that the peer starts needs none")
    if one.path is not None and not exists(one.path / "config.json"):
        raise _wrong(one, f"{one.path} holds no model (config.json is missing)")
    for file in (one.key_file, one.tokenizer):
        if file is not None and not exists(file):
            raise _wrong(one, f"{file} does not exist")


def check_ml_nodes(nodes: tuple[MlNodeSettings, ...], taken: tuple[str, ...] = ()) -> None:
    """All entries together. taken: names that are used already. Raises ConfigError(field='ml_nodes')."""
    if len(nodes) + len(taken) > MAX_ML_NODES:
        raise ConfigError(f"a peer has at most {MAX_ML_NODES} ML nodes", field="ml_nodes")
    names = [*taken, *(one.name for one in nodes)]
    for one in nodes:
        check_ml_node(one)
        if names.count(one.name) > 1:
            raise _wrong(one, "another ML node has that name")


def _wrong(one: MlNodeSettings, why: str) -> ConfigError:
    return ConfigError(f"{one.name}: {why}", field="ml_nodes")


# -- the file --------------------------------------------------------------------------------------------------------


def add_entry(file: Path, one: MlNodeSettings) -> None:
    """Append the entry to config.toml. Raises ConfigError, StorageError; then nothing has changed."""
    text = _read(file)
    entry: dict[str, Any] = {
        name: value for name, value in msgspec.to_builtins(one, enc_hook=str).items()
        if value is not None and value != [] and value != ()
    }
    gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
    _write(file, f"{text}{gap}{HEAD}\n{dump_toml(entry)}", [*_entries(text), entry])


def remove_entry(file: Path, name: str) -> bool:
    """Take the entry out of config.toml. Whether there was one. Raises ConfigError, StorageError."""
    text = _read(file)
    entries = _entries(text)
    kept = [one for one in entries if one.get("name") != name]
    if len(kept) == len(entries):
        return False
    blocks, at = _blocks(text), [one.get("name") for one in entries].index(name)
    inside = [number for number, block in enumerate(blocks) if block.startswith(HEAD)]
    if len(inside) == len(entries):
        del blocks[inside[at]]
    _write(file, "".join(blocks), kept)
    return True


def _blocks(text: str) -> list[str]:
    """The text, cut before each line that begins a table."""
    blocks = [""]
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            blocks.append("")
        blocks[-1] += line
    return blocks


def _read(file: Path) -> str:
    try:
        return read_file(file, MAX_TOML, field="config").decode("utf-8-sig") if exists(file) else ""
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text; save it as such", field="config") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"config.toml is not TOML: {error}", field="config") from error


def _entries(text: str) -> list[dict[str, Any]]:
    found = _parse(text).get("ml_nodes", [])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _write(file: Path, text: str, entries: list[dict[str, Any]]) -> None:
    """Write the changed text, if it says `entries` and else what it said before."""
    before = _parse(_read(file))
    try:
        after = _parse(text)
    except ConfigError:
        after = {}
    wanted = {**before, "ml_nodes": entries}
    if {"ml_nodes": [], **after} != wanted:
        raise ConfigError(
            f"{file} is written in a way that cannot be changed by itself; write each ML node as a table {HEAD} there",
            field="ml_nodes",
        )
    write_file(file, text.encode(), field="config")
