"""Every command of `folkmoot`: its group in the help, its module, one line that says what it does, real examples.

Law: the one table. A new command is one row here and one module of this folder with `register(commands)`, which calls
`commands.add_parser(NAME)`; help, completion, docs/commands.md and their tests follow from the row. Imports nothing, so
that help starts at once.

An example is shown by the help of the command, or of the action, that its words begin with. Each is parsed by a test.
"""

from __future__ import annotations

from typing import NamedTuple

GROUPS = {
    "use": "ask, pay, check",
    "host": "serve models and be paid",
    "operate": "look after a peer",
    "inspect": "what the network did, and proofs of it",
    "test networks": "networks of your own on this machine",
    "research": "measure, attack, simulate",
}
ID = "3f" * 32  # stands for any id or key of 64 hexadecimal digits
PEER = "/ip4/203.0.113.7/tcp/7470/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


class Row(NamedTuple):
    """One command."""

    group: str
    name: str
    module: str  # p2p.cli.MODULE registers it; one module may register several commands
    line: str
    examples: tuple[str, ...]


COMMANDS = (
    Row("use", "init", "local", "make keys and a configuration for a new peer or client", (
        "folkmoot init ~/.folkmoot --network-file mynet.toml --genesis genesis.cbor",
    )),
    Row("use", "join", "join", "join a network in one step: genesis, keys, peers, chain; --serve earns with a model", (
        "folkmoot join NAME", "folkmoot join network.toml",
        f"folkmoot join {PEER}", "folkmoot join NAME --serve SmolLM2-135M-Instruct",
    )),
    Row("use", "ask", "ask", "ask the network; prints the answer and the checked receipt", (
        'folkmoot ask "What is the capital of France?"', "cat notes.txt | folkmoot ask 'Summarise this:'",
        f"folkmoot ask --session trip --peer {PEER} 'And by train?'",
    )),
    Row("use", "chat", "chat", "talk with a model; shows who answered, what it cost and the verdict", (
        "folkmoot chat", "folkmoot chat --session trip --max-tokens 400",
    )),
    Row("use", "account", "account", "show an account; transfer, register a node, deposit, delegate, ...", (
        "folkmoot account show", f"folkmoot account transfer {ID} 250000 --peer {PEER}",
        f"folkmoot account register --model SmolLM2-135M-Instruct --peer {PEER}",
        f"folkmoot account unregister --peer {PEER}", f"folkmoot account rotate new.key --peer {PEER}",
        f"folkmoot account deposit 5000000 --peer {PEER}", f"folkmoot account withdraw 5000000 --peer {PEER}",
        f"folkmoot account delegate {ID} 1000000 20000 90000 --peer {PEER}",
        f"folkmoot account revoke {ID} --peer {PEER}",
        f"folkmoot account cap 1000000 20000 --peer {PEER}", f"folkmoot account appeal {ID} --peer {PEER}",
    )),
    Row("use", "gateway", "gateway", "serve the OpenAI and Anthropic APIs on this machine", (
        "folkmoot gateway", "folkmoot gateway --listen 0.0.0.0:8000 --api-key-file keys.txt",
    )),
    Row("use", "explorer", "explorer", "show a network in the browser: blocks, inferences, hosts, prices", (
        "folkmoot explorer", f"folkmoot explorer --listen 0.0.0.0:8080 --peer {PEER}",
    )),
    Row("use", "verify", "verify_inference", "check one inference with your own copy of the model", (
        "folkmoot verify answer.proof --model ~/models/SmolLM2-135M-Instruct",
        f"folkmoot verify {ID} --model ~/models/SmolLM2-135M-Instruct",
    )),
    Row("host", "serve", "serve", "run a peer", (
        "folkmoot serve --dir ~/.folkmoot", "folkmoot serve --dir ~/.folkmoot --model ~/models/SmolLM2-135M-Instruct",
        "folkmoot serve --dir ~/.folkmoot --metrics 9470", "folkmoot serve --dir ~/.folkmoot --replace",
    )),
    Row("host", "model", "model", "describe a model's folder, or propose that the network serves it", (
        "folkmoot model describe ~/models/SmolLM2-135M-Instruct",
        f"folkmoot model add ~/models/SmolLM2-135M-Instruct --price 10 --peer {PEER}",
    )),
    Row("host", "ml", "ml", "the ML nodes of a peer: list, add, drain, remove", (
        "folkmoot ml list", "folkmoot ml add gpu1 --model SmolLM2-135M-Instruct --url http://127.0.0.1:8001",
        "folkmoot ml drain gpu1", "folkmoot ml remove gpu1 --now",
    )),
    Row("host", "earnings", "earnings", "what a participant earned in an epoch, and why", (
        "folkmoot earnings --epoch 12",
    )),
    Row("operate", "status", "local", "what the peer in --dir does: height, connections, ML node, failures", (
        "folkmoot status", "folkmoot status --dir ~/peer2 --json",
    )),
    Row("operate", "peers", "local", "the peers that the peer in --dir is connected to", ("folkmoot peers",)),
    Row("operate", "doctor", "doctor", "what is closed, missing or wrong around a peer, and how to fix it", (
        "folkmoot doctor",
    )),
    Row("operate", "drain", "drain", "end the peer in --dir without a lost answer", (
        "folkmoot drain", "folkmoot drain --limit 60",
    )),
    Row("operate", "backup", "backup", "write a backup of a peer, which may run, to one file", (
        "folkmoot backup peer.backup", "folkmoot backup peer.backup --keys --dir ~/peer2",
    )),
    Row("operate", "restore", "backup", "make a peer from a backup; it signs nothing until that is safe", (
        "folkmoot restore peer.backup ~/peer3",
    )),
    Row("operate", "store", "backup", "the store of a peer: bring one of an older program forward", (
        "folkmoot store migrate --dry-run", "folkmoot store migrate --dir ~/peer2",
    )),
    Row("operate", "key", "key", "key files: lock by a passphrase, unlock, show, consent to an owner elsewhere", (
        "folkmoot key show ~/.folkmoot/account.key", "folkmoot key lock ~/.folkmoot/account.key",
        "folkmoot key unlock ~/.folkmoot/account.key", f"folkmoot key consent {ID}",
    )),
    Row("operate", "top", "top", "a peer live: blocks, requests, engine and GPU, peers, earnings", (
        "folkmoot top", f"folkmoot top --peer {PEER}",
    )),
    Row("operate", "debug", "debug", "what a report of a fault needs, without secrets and prompts", (
        "folkmoot debug bundle --out bundle.tar.gz",
    )),
    Row("operate", "completion", "completion", "completion of words for bash, zsh or fish", (
        "folkmoot completion bash > ~/.local/share/bash-completion/completions/folkmoot",
    )),
    Row("operate", "help", "help_command", "topics, schemas of --json, exit codes, the help of any command", (
        "folkmoot help money", "folkmoot help json account show", "folkmoot help exit-codes",
    )),
    Row("operate", "ping", "ping", "look at one peer step by step: address, port, key, network, chain, dial-back", (
        f"folkmoot ping {PEER}",
    )),
    Row("operate", "config", "config", "check a peer's settings; show each value and where it comes from", (
        "folkmoot config check", "folkmoot config show --origin", "folkmoot config show --origin -- --model /models/m",
    )),
    Row("operate", "service", "service", "keep a peer running by systemd: write its unit, remove it, show it", (
        "folkmoot service show", "folkmoot service install --now", "folkmoot service uninstall --now",
        "folkmoot service install --system --user folkmoot --dir /var/lib/folkmoot",
    )),
    Row("inspect", "block", "local", "a block and its records", ("folkmoot block 1200",)),
    Row("inspect", "inference", "local", "everything on chain about one inference", (f"folkmoot inference {ID}",)),
    Row("inspect", "verification", "local", "how well the network checks, and each participant's conduct", (
        "folkmoot verification",
    )),
    Row("inspect", "sprint", "local", "this epoch's sprint: who answered how much, and next epoch's weights", (
        "folkmoot sprint",
    )),
    Row("inspect", "governance", "governance", "propose a change of rules or models, vote, list", (
        f"folkmoot governance list --peer {PEER}", f"folkmoot governance vote {ID} yes --peer {PEER}",
        f"folkmoot governance propose --checks reveal_window=9 --peer {PEER}",
    )),
    Row("inspect", "verify-header", "verify_header", "check that a header is decided, from one that is trusted", (
        f"folkmoot verify-header 1200 --peer {PEER}",
    )),
    Row("inspect", "prove", "prove", "prove what the state says of an account, inference or participant", (
        f"folkmoot prove account {ID} --out account.proof", "folkmoot prove --check account.proof",
    )),
    Row("test networks", "testnet", "testnet", "start and stop a local test network, run one from a manifest", (
        "folkmoot testnet demo", "folkmoot testnet up --peers 4 --ml-nodes 1", "folkmoot testnet down",
        "folkmoot testnet run smoke-4 --seed 7", "folkmoot testnet write smoke-4 --dir out",
        "folkmoot testnet generate --seed 7", "folkmoot testnet ls",
        "folkmoot testnet logs host1 --dir .testnet/smoke-4",
        "folkmoot testnet exec host1 --dir .testnet/smoke-4 -- ip address",
        "folkmoot testnet report --dir .testnet/smoke-4",
    )),
    Row("test networks", "lab-peer", "lab_peer", "run a peer of a test network that cheats or plants faults", (
        "folkmoot lab-peer --dir .testnet/demo/peer5",
    )),
    Row("research", "calibrate", "calibrate", "measure a model's honest noise and write the profile to judge by", (
        "folkmoot calibrate ~/models/SmolLM2-135M-Instruct --prompts 64",
    )),
    Row("research", "attack", "attack", "list the cheats that this program knows, or run one here", (
        "folkmoot attack --list", "folkmoot attack int8 --tokens 32",
    )),
    Row("research", "simulate", "simulate", "play the economy with many agents against the real ledger", (
        "folkmoot simulate economy --tiny",
    )),
)
BY_NAME = {row.name: row for row in COMMANDS}


def examples_of(words: str) -> list[str]:
    """Examples of the command, or of the action, `folkmoot WORDS`; of a command with actions, the first of each few."""
    row = BY_NAME.get(words.split(" ")[0])
    if row is None:
        return []
    return [text for text in row.examples if f"{text} ".startswith(f"folkmoot {words} ")][:4]
