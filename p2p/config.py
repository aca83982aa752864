"""A peer's configuration: frozen, from DIR/config.toml and command-line overrides. Law: a bad value is a ConfigError that names it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from p2p.errors import ConfigError
from p2p.limits import FIRST_TOKEN_TIMEOUT_S, MAX_MODEL_NAME, TOKEN_TIMEOUT_S

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/7470",)
DEFAULT_MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """ml_node: URL of a running vLLM. model_path: weights for an own vLLM. cheat: a named villain, for test networks.
    first_token_timeout_ms, token_timeout_ms: how long this peer, as an agent, waits for an executor before the next one."""

    directory: Path
    network: str
    listen: tuple[str, ...] = DEFAULT_LISTEN
    bootstrap: tuple[str, ...] = ()
    ml_node: str | None = None
    model_path: Path | None = None
    model: str = DEFAULT_MODEL
    engine_flags: tuple[str, ...] = ()
    expected_size: int = 4
    cheat: str | None = None
    block_interval_ms: int = 300
    empty_block_interval_ms: int = 1000
    first_token_timeout_ms: int = round(FIRST_TOKEN_TIMEOUT_S * 1000)
    token_timeout_ms: int = round(TOKEN_TIMEOUT_S * 1000)


def load_config(directory: Path, **overrides: Any) -> NodeConfig:
    """DIR/config.toml with overrides (None = not given). Raises ConfigError naming the field."""
    file = directory / "config.toml"
    try:
        table = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}; make it with: folkmoot init {directory}", field="dir") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}", field="config") from error
    return make_config(directory, {**table, **{key: value for key, value in overrides.items() if value not in (None, ())}})


def make_config(directory: Path, table: dict[str, Any]) -> NodeConfig:
    """A checked configuration from plain values."""
    known = {f.name for f in fields(NodeConfig)} - {"directory"}
    for name in table:
        if name not in known:
            raise ConfigError(f"no such setting; there are {', '.join(sorted(known))}", field=name)
    config = replace(NodeConfig(directory, ""), **{name: _typed(name, value) for name, value in table.items()})
    if not config.network or len(config.network) > MAX_MODEL_NAME:
        raise ConfigError("a network has a name of 1 to 96 characters", field="network")
    for name in ("listen", "bootstrap"):
        for address in getattr(config, name):
            if not address.startswith("/") or (name == "bootstrap" and "/p2p/" not in address):
                raise ConfigError(f"{address!r} is not a multiaddr such as /ip4/1.2.3.4/tcp/7470/p2p/ID", field=name)
    if config.ml_node is not None and not config.ml_node.startswith(("http://", "https://")):
        raise ConfigError(f"{config.ml_node!r} is not an http URL", field="ml_node")
    if config.ml_node and config.model_path:
        raise ConfigError("give a URL or a model's path, not both", field="ml_node")
    if config.model_path is not None and not (config.model_path / "config.json").exists():
        raise ConfigError(f"{config.model_path} holds no model (config.json is missing)", field="model_path")
    return config


def _typed(name: str, value: Any) -> Any:
    if name in ("listen", "bootstrap", "engine_flags"):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError("a list of strings is wanted", field=name)
        return tuple(value)
    if name == "expected_size" or name.endswith("_ms"):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
            raise ConfigError("a whole number from 1 is wanted", field=name)
        return value
    if not isinstance(value, str | Path):
        raise ConfigError("a string is wanted", field=name)
    return Path(value) if name == "model_path" else str(value)


def dump_config(table: dict[str, Any]) -> str:
    """TOML text of plain settings (strings, numbers, lists of strings)."""
    import json

    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
