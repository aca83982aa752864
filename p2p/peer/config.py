"""A peer's configuration, from DIR/config.toml and command-line overrides. Law: a bad value is a ConfigError that names
its setting."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from p2p.base.addresses import check_multiaddr
from p2p.base.default_model import DEFAULT_MODEL as DEFAULT_MODEL
from p2p.base.errors import ConfigError
from p2p.base.files import exists
from p2p.base.genesis import Genesis, check_network_name
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S, MAX_INBOUND_STREAMS_PER_PEER, TOKEN_TIMEOUT_S
from p2p.base.serving_limits import MAX_JOBS_PER_PEER
from p2p.base.toml_file import read_toml
from p2p.chain.checkpoint import parse_checkpoint
from p2p.machine.logs import FORMATS, LEVELS
from p2p.peer.ml_settings import DEFAULT, MlNodeSettings, check_ml_nodes
from p2p.peer.quotas import Limit

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/7470",)
ENGINES = ("vllm", "torch")
KEEP = ("own", "all")
LAB_SETTINGS = ("cheat", "honest_ml_node", "cheat_friends", "plant_interval_ms")  # of lab.toml: p2p/lab/settings.py

Table = TypeVar("Table", bound=msgspec.Struct)
Text = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Tokens = Annotated[int, Meta(ge=1, le=10**9)]


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of config.toml, under its own name. Relative paths start where the command runs; times are in
    milliseconds."""

    directory: Path
    network: Text = ""  # the name, or name@hash, of the network that genesis.cbor must be of; empty: any
    listen: tuple[Text, ...] = DEFAULT_LISTEN  # multiaddrs to bind
    bootstrap: tuple[Text, ...] = ()  # multiaddrs with /p2p/ID, dialled first
    relay: bool = True  # it carries connections of peers that can only dial out, while others can dial it
    expected_size: Count = 4  # peers of the network, roughly; the number of connections follows from it

    # the model and the engine that runs it
    model: Text = DEFAULT_MODEL
    model_path: Path | None = None  # folder with the weights: the peer starts and supervises an engine for them
    ml_node: Text | None = None  # or the URL of a vLLM that runs already
    ml_node_key: Path | None = None  # file with its API key
    # tokenizer.json or its folder; None: in model_path, else where the shipped model is kept
    tokenizer: Path | None = None
    profile: Path | None = None  # calibration of its own model's checks; for other models the shipped ones hold
    engine: Text = "vllm"  # or "torch": plain torch and transformers, in the peer's own process
    engine_threads: Count | None = None  # of torch; None: all cores
    engine_flags: tuple[Text, ...] = ()  # passed to vLLM as they are
    ml_nodes: tuple[MlNodeSettings, ...] = ()  # more ML nodes, each a table [[ml_nodes]] (ml_settings.py)
    own_accounts: tuple[Text, ...] = ()  # accounts in hexadecimal digits whose requests go before those of others

    # times
    block_interval_ms: Count = 300  # after a decision, with transactions waiting
    empty_block_interval_ms: Count = 1000  # between the beginnings of two heights without transactions
    # as an agent, for an executor's first token before it asks the next executor
    first_token_timeout_ms: Count = round(FIRST_TOKEN_TIMEOUT_S * 1000)
    token_timeout_ms: Count = round(TOKEN_TIMEOUT_S * 1000)  # the same for each further frame

    # what others may use; tokens that were reserved and not used return
    account_jobs: Count = MAX_INBOUND_STREAMS_PER_PEER  # requests of one account at once, as an agent
    account_tokens: Tokens = 1_000_000  # tokens of one account in limit_window heights
    agent_jobs: Count = MAX_JOBS_PER_PEER * 3 // 4  # the same for one agent, as an executor
    agent_tokens: Tokens = 10_000_000
    limit_window: Count = 60  # heights
    # the sprint's answers made at once, after clients' requests; as many as the engine runs at once earn most
    sprint_jobs: Count = 4

    keep_records: Text = "own"  # inferences whose proofs are kept when they leave the state: "own" or "all"
    checkpoint: Text | None = None  # HEIGHT:BLOCK_ID from a trusted source: no other history below it is believed
    metrics: Text | None = None  # HOST:PORT of GET /metrics, or a PORT of this machine alone; None: nowhere
    log_level: Text = "info"
    log_format: Text = "text"

    @property
    def every_ml_node(self) -> tuple[MlNodeSettings, ...]:
        """The one that the settings of a single node describe, where they do, and those of [[ml_nodes]]."""
        if self.ml_node is None and self.model_path is None:
            return self.ml_nodes
        own = MlNodeSettings(
            DEFAULT, self.model, self.ml_node, self.model_path, self.ml_node_key, self.tokenizer, self.engine_flags,
        )
        return (own, *self.ml_nodes)

    @property
    def account_limit(self) -> Limit:
        return Limit(self.account_jobs, self.account_tokens, self.limit_window)

    @property
    def agent_limit(self) -> Limit:
        return Limit(self.agent_jobs, self.agent_tokens, self.limit_window)


SETTINGS = frozenset(NodeConfig.__struct_fields__) - {"directory"}


def load_config(directory: Path, **overrides: Any) -> NodeConfig:
    """DIR/config.toml with overrides (None or (): not given). Raises ConfigError that names the setting."""
    file = directory / "config.toml"
    if not exists(file):
        raise ConfigError(f"cannot read {file}; make it with: folkmoot join NETWORK --dir {directory}", field="dir")
    table = read_toml(file, field="config")
    given = {key: value for key, value in overrides.items() if value not in (None, ())}
    return make_config(directory, {**table, **given})


def make_config(directory: Path, table: dict[str, Any]) -> NodeConfig:
    """A checked configuration from plain values. Raises ConfigError that names the setting."""
    for name, value in table.items():
        if name in LAB_SETTINGS:
            raise ConfigError(
                "a setting of test networks: put it into lab.toml and start the peer with: folkmoot lab-peer",
                field=name
            )
        if name not in SETTINGS:
            raise ConfigError(f"no such setting; there are {', '.join(sorted(SETTINGS))}", field=name)
        check_printable(name, value)
    config = from_table(NodeConfig, {"directory": directory, **table})
    if config.network:
        check_network_name(config.network.partition("@")[0])
    for name in ("listen", "bootstrap"):
        for address in getattr(config, name):
            check_multiaddr(address, name, with_peer=name == "bootstrap")
    if config.checkpoint is not None:
        parse_checkpoint(config.checkpoint)
    check_ml_nodes(config.ml_nodes, (DEFAULT,) if config.ml_node or config.model_path else ())
    for name, is_good, sentence in _RULES:
        if not is_good(config):
            raise ConfigError(sentence.format(value=getattr(config, name)), field=name)
    return config


Rule = tuple[str, Callable[[NodeConfig], bool], str]  # setting, whether its value is allowed, the sentence if it is not


def _one_of(name: str, allowed: tuple[str, ...]) -> Rule:
    return name, lambda c: getattr(c, name) in allowed, f"{{value:.40}} is not allowed; one of {', '.join(allowed)} is"


_RULES: tuple[Rule, ...] = (
    ("own_accounts", lambda c: all(map(is_key, c.own_accounts)), "each is a public key of 64 hexadecimal digits"),
    _one_of("log_level", LEVELS),
    _one_of("log_format", FORMATS),
    _one_of("engine", ENGINES),
    _one_of("keep_records", KEEP),
    ("ml_node", lambda c: c.ml_node is None or is_url(c.ml_node), "{value:.200} is neither an http URL nor unix:/PATH"),
    ("ml_node", lambda c: not (c.ml_node and c.model_path), "give a URL or a model's path, not both"),
    ("ml_node_key", lambda c: c.ml_node_key is None or (c.ml_node is not None and exists(c.ml_node_key)),
     "{value} must be a file, and is for an ml_node given by URL"),
    (
        "profile", lambda c: c.profile is None or exists(c.profile),
        "{value} does not exist; make it with: folkmoot calibrate"
    ),
    ("tokenizer", lambda c: c.tokenizer is None or exists(c.tokenizer), "{value} does not exist"),
    (
        "model_path", lambda c: c.engine != "torch" or c.model_path is not None,
        "the torch engine runs in the peer: give a model's path"
    ),
    (
        "engine_flags", lambda c: c.engine != "torch" or not c.engine_flags,
        "these are vLLM's; the torch engine takes none"
    ),
    (
        "model_path", lambda c: c.model_path is None or exists(c.model_path / "config.json"),
        "{value} holds no model (config.json is missing)"
    ),
)


def is_key(text: str) -> bool:
    return len(text) == 64 and set(text.lower()) <= set("0123456789abcdef")


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://", "unix:/"))


def check_network(config: NodeConfig, genesis: Genesis) -> None:
    """Raises ConfigError if the configuration is for another network than the genesis file: no peer of either would
    answer."""
    if config.network not in ("", genesis.name, genesis.network):
        raise ConfigError(
            f"{config.directory / 'config.toml'} is for {config.network}, but genesis.cbor there is of "
            f"{genesis.network}; remove that line, or get the other genesis file", field="network",
        )


def from_table(kind: type[Table], table: dict[str, Any]) -> Table:
    """A struct from plain values of a TOML table. Raises ConfigError that names the setting."""
    try:
        return msgspec.convert(table, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        found = re.search(r"\$\.(\w+)", where)
        raise ConfigError(what.replace("`", ""), field=found[1] if found else "config") from error


def _path(kind: type, value: object) -> Path:
    assert kind is Path
    if not isinstance(value, str | Path):
        raise ValueError(f"Expected str, got {type(value).__name__}")
    return Path(value)


def check_printable(name: str, value: object) -> None:
    """Raises ConfigError for a setting with unprintable characters: settings become parts of paths and topics and are
    shown on terminals."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if isinstance(text, str | Path) and not str(text).isprintable():
            raise ConfigError("only characters that can be printed are allowed", field=name)
