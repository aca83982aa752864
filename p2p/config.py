"""A peer's configuration: frozen, from DIR/config.toml and command-line overrides. Law: a bad value is a ConfigError that names it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from p2p import attacks
from p2p.anchor import parse_checkpoint
from p2p.bandwidth import Limit
from p2p.errors import ConfigError
from p2p.files import exists, read_file
from p2p.genesis import NETWORK_NAME, Genesis
from p2p.limits import FIRST_TOKEN_TIMEOUT_S, KIB, MAX_INBOUND_STREAMS_PER_PEER, MAX_JOBS_PER_PEER, MAX_NETWORK_NAME, TOKEN_TIMEOUT_S

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/7470",)
DEFAULT_MODEL = "SmolLM2-135M-Instruct"
ENGINES = ("vllm", "torch")
KEEP = ("own", "all")
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
MAX_CONFIG = 256 * KIB
MAX_SETTING = 4096


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """network: the name, or the id, that the genesis file must have; empty: any, the genesis file says it. ml_node: URL of a running
    vLLM. model_path: weights for an own engine. tokenizer: the model's tokenizer.json or its folder, for the texts that are signed (None: in
    model_path, else where `prepare_model` puts the small model). engine: which one, 'vllm' or 'torch' (plain torch and transformers, in this
    process); engine_threads: of torch (None: all cores). cheat: name of an attack in p2p/attacks, for test networks; honest_ml_node: URL of
    a vLLM with the claimed model, for a cheat whose ml_node has another (left out: the same); cheat_friends: node keys, hexadecimal, that a
    colluding validator calls valid. profile: file of the model's calibration (None: the one that is shipped). plant_interval_ms: plant a
    fault in an answer to this peer's own owner this often, to measure the network's checks (None: never; needs DIR/account.key with
    money).
    first_token_timeout_ms, token_timeout_ms: how long this peer, as an agent, waits for an executor before the next one.
    sprint_jobs: answers of the sprint made at once, with clients' requests, which go first; as many as the ML node has places for earn most.
    account_jobs, account_tokens: what one account may have of this peer, as an agent: requests at once, and tokens (the bounds of prompt and
    answer; what is not used returns) in limit_window heights. agent_jobs, agent_tokens: the same for one agent, of this peer as an executor.
    keep_records: of which inferences the records are kept when they leave the state, so that they can be proved: 'own' (this peer was agent,
    executor or validator) or 'all'.
    checkpoint: HEIGHT:BLOCK_ID of a block that is known from somebody trusted; below it nothing else is believed (p2p/anchor.py).
    log_level: 'debug', 'info', 'warning' or 'error'; log_format: 'text' or 'json' (p2p/logs.py)."""

    directory: Path
    network: str = ""
    listen: tuple[str, ...] = DEFAULT_LISTEN
    bootstrap: tuple[str, ...] = ()
    ml_node: str | None = None
    ml_node_key: Path | None = None
    model_path: Path | None = None
    tokenizer: Path | None = None
    model: str = DEFAULT_MODEL
    profile: Path | None = None
    engine: str = "vllm"
    engine_threads: int | None = None
    engine_flags: tuple[str, ...] = ()
    expected_size: int = 4
    cheat: str | None = None
    honest_ml_node: str | None = None
    cheat_friends: tuple[str, ...] = ()
    plant_interval_ms: int | None = None
    block_interval_ms: int = 300
    empty_block_interval_ms: int = 1000
    first_token_timeout_ms: int = round(FIRST_TOKEN_TIMEOUT_S * 1000)
    token_timeout_ms: int = round(TOKEN_TIMEOUT_S * 1000)
    sprint_jobs: int = 4
    account_jobs: int = MAX_INBOUND_STREAMS_PER_PEER
    account_tokens: int = 1_000_000
    agent_jobs: int = MAX_JOBS_PER_PEER * 3 // 4
    agent_tokens: int = 10_000_000
    limit_window: int = 60
    keep_records: str = "own"
    checkpoint: str | None = None
    log_level: str = "info"
    log_format: str = "text"

    @property
    def account_limit(self) -> Limit:
        return Limit(self.account_jobs, self.account_tokens, self.limit_window)

    @property
    def agent_limit(self) -> Limit:
        return Limit(self.agent_jobs, self.agent_tokens, self.limit_window)


def load_config(directory: Path, **overrides: Any) -> NodeConfig:
    """DIR/config.toml with overrides (None = not given). Raises ConfigError naming the field."""
    file = directory / "config.toml"
    if not exists(file):
        raise ConfigError(f"cannot read {file}; make it with: folkmoot init {directory}", field="dir")
    table = read_toml(file, field="config")
    return make_config(directory, {**table, **{key: value for key, value in overrides.items() if value not in (None, ())}})


def read_toml(file: Path, *, field: str) -> dict[str, Any]:
    """The table in a file of UTF-8 text, with a byte-order mark or without. Raises ConfigError naming the file."""
    raw = read_file(file, MAX_CONFIG, field=field)
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        looks = "UTF-16 text" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else f"not UTF-8 text (byte {error.start})"
        raise ConfigError(f"{file} is {looks}; save it as UTF-8", field=field) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not TOML: {error}", field=field) from error


def make_config(directory: Path, table: dict[str, Any]) -> NodeConfig:
    """A checked configuration from plain values."""
    known = {f.name for f in fields(NodeConfig)} - {"directory"}
    for name in table:
        if name not in known:
            raise ConfigError(f"no such setting; there are {', '.join(sorted(known))}", field=name)
    config = replace(NodeConfig(directory), **{name: _typed(name, value) for name, value in table.items()})
    if config.network and not NETWORK_NAME.match(config.network.partition("@")[0]):
        raise ConfigError(f"a network has a name of 1 to {MAX_NETWORK_NAME} letters, digits, dots, dashes and underscores", field="network")
    for name in ("listen", "bootstrap"):
        for address in getattr(config, name):
            if not address.startswith("/") or (name == "bootstrap" and "/p2p/" not in address):
                raise ConfigError(f"{address!r} is not a multiaddr such as /ip4/1.2.3.4/tcp/7470/p2p/ID", field=name)
    for name in ("ml_node", "honest_ml_node"):
        url = getattr(config, name)
        if url is not None and not url.startswith(("http://", "https://", "unix:/")):
            raise ConfigError(f"{url!r} is neither an http URL nor unix:/PATH", field=name)
    if config.log_level not in LEVELS:
        raise ConfigError(f"{config.log_level[:40]!r} is none of {', '.join(LEVELS)}", field="log_level")
    if config.log_format not in FORMATS:
        raise ConfigError(f"{config.log_format[:40]!r} is none of {', '.join(FORMATS)}", field="log_format")
    if config.profile is not None and not exists(config.profile):
        raise ConfigError(f"{config.profile} does not exist; make it with: folkmoot calibrate", field="profile")
    if config.tokenizer is not None and not exists(config.tokenizer):
        raise ConfigError(f"{config.tokenizer} does not exist", field="tokenizer")
    if config.cheat is not None:
        attacks.get(config.cheat)
    if config.cheat_friends and config.cheat != "colluding_validator":
        raise ConfigError("only a colluding_validator has friends", field="cheat_friends")
    if not all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in config.cheat_friends):
        raise ConfigError("node keys of 64 hexadecimal digits are wanted", field="cheat_friends")
    if config.ml_node and config.model_path:
        raise ConfigError("give a URL or a model's path, not both", field="ml_node")
    if config.ml_node_key is not None and (config.ml_node is None or not exists(config.ml_node_key)):
        raise ConfigError(f"{config.ml_node_key} must be a file, and is for an ML node by URL", field="ml_node_key")
    if config.engine not in ENGINES:
        raise ConfigError(f"{config.engine[:40]!r} is none of {', '.join(ENGINES)}", field="engine")
    if config.checkpoint is not None:
        parse_checkpoint(config.checkpoint)
    if config.keep_records not in KEEP:
        raise ConfigError(f"{config.keep_records[:40]!r} is none of {', '.join(KEEP)}", field="keep_records")
    if config.engine == "torch" and config.model_path is None:
        raise ConfigError("the torch engine runs in the peer: give a model's path", field="model_path")
    if config.engine == "torch" and config.engine_flags:
        raise ConfigError("these are vLLM's; the torch engine takes none", field="engine_flags")
    if config.model_path is not None and not exists(config.model_path / "config.json"):
        raise ConfigError(f"{config.model_path} holds no model (config.json is missing)", field="model_path")
    return config


def check_network(config: NodeConfig, genesis: Genesis) -> None:
    """Raises ConfigError when the configuration is for another network than the genesis file: nobody of either would answer this peer."""
    if config.network not in ("", genesis.name, genesis.network):
        file = config.directory / "config.toml"
        raise ConfigError(
            f"{file} says {config.network}, but genesis.cbor beside it is of {genesis.network}; take the line out of the one, or get the other",
            field="network",
        )


def _typed(name: str, value: Any) -> Any:
    if name in ("listen", "bootstrap", "engine_flags", "cheat_friends"):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError("a list of strings is wanted", field=name)
        return tuple(_text(name, item) for item in value)
    if name in ("expected_size", "engine_threads", "limit_window") or name.endswith(("_ms", "_jobs", "_tokens")):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= (10**9 if name.endswith("_tokens") else 1_000_000):
            raise ConfigError("a whole number from 1 is wanted", field=name)
        return value
    if not isinstance(value, str | Path):
        raise ConfigError("a string is wanted", field=name)
    text = _text(name, str(value))
    return Path(text) if name in ("model_path", "profile", "tokenizer", "ml_node_key") else text


def _text(name: str, value: str) -> str:
    """It goes into paths, names of topics, and onto terminals."""
    if len(value) > MAX_SETTING or not value.isprintable():
        raise ConfigError(f"at most {MAX_SETTING} characters that can be printed are wanted", field=name)
    return value


def dump_config(table: dict[str, Any]) -> str:
    """TOML text of plain settings (strings, numbers, lists of strings), as `make_config` takes them."""
    return "".join(f"{name} = {_dump(value)}\n" for name, value in table.items())


def _dump(value: Any) -> str:
    """JSON but for what TOML writes otherwise: characters beyond 16 bits as they are, DEL escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
