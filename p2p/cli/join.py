"""join: from nothing to a peer of a network, and with --serve to the first credit, in one command.

Law: each step is said when it is done, with its time; a second run goes on where the first one stopped. The steps are
in p2p/joining.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.files import exists, keep_private
from p2p.cli import account_file
from p2p.cli.arguments import MAX_AMOUNT, default_dir, whole
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.joining.folder import Account, Folder
    from p2p.joining.target import Target
    from p2p.joining.way import Ask
    from p2p.peer.node import Node

_MAX_TEXT = 600


def register(commands: Any) -> None:
    command = commands.add_parser("join")
    command.add_argument(
        "target", metavar="MULTIADDR|FILE|NAME",
        help="a peer of the network, the network's file, or the name of one that comes with the program",
    )
    command.add_argument("--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)")
    command.add_argument(
        "--genesis-hash", metavar="HASH",
        help="the network's id NAME@HASH, or its hash, from somebody you trust: any other genesis file is refused",
    )
    command.add_argument(
        "--listen", action="append", default=[], metavar="MULTIADDR",
        help="where the peer listens; may be repeated (default: all interfaces, port 7470)",
    )
    command.add_argument(
        "--checkpoint", metavar="HEIGHT:BLOCK_ID",
        help="a block known from somebody you trust: no other history below it is believed",
    )
    command.add_argument(
        "--then-stop", action="store_true", help="end when it has joined; `folkmoot serve` starts it again",
    )
    _serving(command)
    command.set_defaults(run=run)


def _serving(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--serve", metavar="MODEL", help="a model of the network, or the folder of its files: serve it and earn",
    )
    command.add_argument(
        "--ml-node", metavar="URL", help="a vLLM that runs already serves it, instead of one started here",
    )
    command.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="the model's tokenizer.json, for --ml-node",
    )
    command.add_argument("--engine", choices=("vllm", "torch"), help="what runs the model (default: what is installed)")
    command.add_argument(
        "--price-floor", type=whole(0, MAX_AMOUNT), default=0, metavar="MICRO",
        help="the least micro-credits that it takes for a token (default: 0)",
    )
    command.add_argument(
        "--fund", type=Path, metavar="DIR", help="a folder whose account.key pays for the place, if money is missing",
    )
    account_file.add_options(command)


class _Say:
    """Prints each step with the seconds since the start."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._begun = as_json, time.monotonic()

    def __call__(self, step: str, text: str) -> None:
        seconds = time.monotonic() - self._begun
        if self._json:
            print(json.dumps({"step": step, "text": text, "seconds": round(seconds, 1)}), flush=True)
        else:
            print(f"[{seconds:5.1f} s] {step:9} {line(text, _MAX_TEXT)}", flush=True)


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import Logging, run_async
    from p2p.joining.target import find_target

    keep_private()
    say, target = _Say(options.json), find_target(options.target, options.genesis_hash)
    _check(options)
    say("network", target.identity.network or "its id is not known yet; " + ", ".join(target.bootstrap))
    if options.serve:
        _look_at_hardware(say)
    genesis = run_async(_genesis, options, target, say, log=Logging(level="error"))  # each step says what failed
    folder = _prepare(options, target, genesis, say)
    purse = _open_accounts(folder, options.fund) if options.serve else None
    from p2p.peer.config import load_config

    config = load_config(options.dir)
    run_async(_join, options, folder, purse, say, log=Logging(options.dir / "log", config.log_level, config.log_format))
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises ConfigError for options that mean nothing without --serve, before anything is done."""
    for name in ("ml_node", "tokenizer", "engine", "fund"):
        if getattr(options, name) is not None and not options.serve:
            raise ConfigError("it is for a host: name the model with --serve", field=name)
    if options.fund is not None and not exists(options.fund / "account.key"):
        raise ConfigError(f"{options.fund} has no account.key", field="fund")


# -- genesis and folder ----------------------------------------------------------------------------------------------


async def _genesis(options: argparse.Namespace, target: Target, say: _Say) -> Genesis:
    from p2p.base.files import read_file
    from p2p.joining.folder import known_genesis
    from p2p.joining.genesis_fetch import fetch_genesis
    from p2p.wire.answers.genesis import MAX_GENESIS

    found = known_genesis(options.dir, target.identity)
    if found is not None:
        say("genesis", f"already there: {found.network}")
        return found
    if target.genesis_file is not None:
        raw = read_file(target.genesis_file, MAX_GENESIS, field="genesis")
        found, source = target.identity.check(raw, str(target.genesis_file)), str(target.genesis_file)
    else:
        say("genesis", "asking " + ", ".join(target.bootstrap))
        found, peer = await fetch_genesis(target.bootstrap, target.identity, lambda text: say("genesis", text))
        source = f"peer {peer}"
    if not target.identity.is_known:
        _confirm(options, found, source)
    say("genesis", f"{found.network}, from {source}; its hash is the one that was wanted")
    return found


def _confirm(options: argparse.Namespace, found: Genesis, source: str) -> None:
    """Only the user knows whether it is the right network. Raises ConfigError where nobody says so."""
    what = f"{source} says that its network is {found.network}"
    again = f"compare it with what the founders publish, then add: --genesis-hash {found.network}"
    if options.json or not sys.stdin.isatty():
        raise ConfigError(f"{what}, and nothing says that this is the network you mean; {again}", field="genesis_hash")
    print(f"{what}\nwhole hash {found.hash.hex()}")
    print("Any peer can invent a network. Is this the one you mean? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(f"not joined, and nothing was written; {again}", field="genesis_hash")


def _prepare(options: argparse.Namespace, target: Target, genesis: Genesis, say: _Say) -> Folder:
    from p2p.joining.folder import ACCOUNT, prepare
    from p2p.peer.config import DEFAULT_LISTEN

    settings: dict[str, Any] = {
        "network": genesis.network, "bootstrap": list(target.bootstrap),
        "listen": options.listen or list(DEFAULT_LISTEN),
    }
    settings |= {"checkpoint": options.checkpoint} if options.checkpoint else {}
    settings |= _model_settings(options, genesis, say) if options.serve else {}
    folder = prepare(
        options.dir, genesis, settings, account_elsewhere=options.account_elsewhere,
        new_passphrase=lambda file: account_file.new_passphrase(file, unlocked=options.unlocked),
    )
    say("folder", f"{options.dir}: " + (", ".join(f"{name} made" for name in folder.made) or "all was there already"))
    if folder.account is not None:
        file = folder.account.folder / ACCOUNT
        say("account", f"{folder.account.public.hex()}; locked: "
            + account_file.lock_in_words(file, locked=folder.account.is_locked))
    return folder


def _open_accounts(folder: Folder, fund: Path | None) -> Account | None:
    """Ask for passphrases now, while somebody looks; later the peer runs, and must not wait for a terminal. Returns the
    account that pays for the place."""
    from p2p.joining.folder import Account

    purse = Account.of(fund) if fund is not None else None
    for account in (folder.account, purse):
        if account is not None and account.is_locked and account_file.can_be_asked():
            account.open()
    return purse


# -- serving ---------------------------------------------------------------------------------------------------------


def _look_at_hardware(say: _Say) -> None:
    from p2p.inference.stack.fits import in_words
    from p2p.inference.stack.hardware import look

    say("hardware", in_words(look()))


def _model_settings(options: argparse.Namespace, genesis: Genesis, say: _Say) -> dict[str, Any]:
    """Of config.toml, for the model that is to be served. Raises ConfigError where it cannot be."""
    if options.ml_node:
        names = [spec.model for spec in genesis.models if not spec.retired]
        if options.serve not in names:
            raise ConfigError(f"the network's models are {', '.join(names)}; name one of them", field="serve")
        settings: dict[str, Any] = {"model": options.serve, "ml_node": options.ml_node}
        return settings | ({"tokenizer": str(options.tokenizer.resolve())} if options.tokenizer else {})
    from p2p.inference.stack.fits import fit
    from p2p.inference.stack.hardware import look
    from p2p.joining.models import check_weights, find_model

    offer = find_model(options.serve, genesis.models, lambda text: say("model", text))
    found = fit(offer.weights, look())
    if not found.fits:
        raise ConfigError(f"{offer.spec.model} cannot be served here: {found.text}", field="serve")
    check_weights(offer)
    engine = options.engine or found.engine
    say("model", f"{offer.spec.model} in {offer.folder}, by {engine} on the {found.where.upper()}: {found.text}")
    settings = {"model": offer.spec.model, "model_path": str(offer.folder.resolve()), "engine": engine}
    return settings | _profile(options, offer, say)


def _profile(options: argparse.Namespace, offer: Any, say: _Say) -> dict[str, str]:
    """The calibration that this host's checks use: the shipped one, that of an earlier run, or a new one."""
    from p2p.joining.models import profile_for

    shipped, own = profile_for(offer.spec), options.dir / "profile.json"
    if shipped:
        say("profile", f"calibration: {shipped}")
        return {}
    if offer.spec.profile_hash:
        raise ConfigError(
            f"the network wants the calibration {offer.spec.profile_hash[:16]}, which does not come with this program:"
            " get its file, and set `profile` in config.toml", field="profile",
        )
    if not exists(own):
        from p2p.cli import calibrate

        say("profile", "no calibration comes with the program: measuring this machine's noise, which takes long")
        calibrate.run(argparse.Namespace(
            model=offer.folder, stack="both", prompts=0, work=options.dir / "calibration", out=own,
        ))
    say("profile", f"calibration: {own}")
    return {"profile": str(own.resolve())}


# -- the peer --------------------------------------------------------------------------------------------------------


async def _join(options: argparse.Namespace, folder: Folder, purse: Account | None, say: _Say) -> None:
    """Follow the peer that runs in the folder, or run one there and follow it. Raises the error of a step."""
    import trio

    from p2p.cli.serve import DRAIN_S, SWITCH_S, until_signal
    from p2p.peer.config import load_config
    from p2p.peer.control import call
    from p2p.peer.roles import Roles

    if await _runs(options.dir):
        say("peer", "it runs already")

        async def socket(request: dict[str, Any]) -> dict[str, Any]:
            return await trio.to_thread.run_sync(call, options.dir, request)

        await _steps(options, folder, purse, say, socket)
        return
    sys.setswitchinterval(SWITCH_S)

    joined = False

    async def way(node: Node) -> None:
        nonlocal joined

        async def inside(request: dict[str, Any]) -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return node.queries.answer(request)

        await _steps(options, folder, purse, say, inside)
        joined = True
        if options.then_stop:
            node.draining.begin(0.0)

    say("peer", "starting")
    await until_signal(load_config(options.dir), lambda state, text: None, Roles(), [way], DRAIN_S)
    if not joined:
        raise KeyboardInterrupt  # a signal ended it on the way; the same command goes on from there


async def _runs(directory: Path) -> bool:
    import trio

    from p2p.peer.control import call

    try:
        await trio.to_thread.run_sync(call, directory, {"op": "status"})
    except FolkmootError:
        return False
    return True


async def _steps(
    options: argparse.Namespace, folder: Folder, purse: Account | None, say: Callable[[str, str], None],
    ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
) -> None:
    """From the first connection to the first credit. Raises the error of a step."""
    from p2p.joining.way import Way

    way = Way(ask, say)
    await way.connected()
    status = await way.in_step()
    addresses = ", ".join(status["addresses"]) or "no address"
    if not options.serve:
        say("joined", f"height {status['height']}; this peer is {addresses}")
        return
    await way.serving()
    await _place(options, folder, purse, say, ask)
    await way.first_credit(folder.node.public.hex(), folder.genesis.epoch_blocks)
    say("joined", f"serving {options.serve}; this peer is {addresses}")


async def _place(
    options: argparse.Namespace, folder: Folder, purse: Account | None, say: Callable[[str, str], None], ask: Ask,
) -> None:
    from p2p.base.toml_file import read_toml
    from p2p.joining.place import Place, owner_elsewhere, submitter

    model = str(read_toml(options.dir / "config.toml", field="config")["model"])
    if folder.account is None:
        await owner_elsewhere(ask, say, folder, model, options.price_floor)
        return
    status = await ask({"op": "status"})
    if not status["addresses"]:
        raise ConfigError("the peer listens nowhere, so nothing can be submitted through it", field="listen")
    submit = submitter(status["addresses"][0], folder.genesis)
    place = Place(ask, say, submit, folder.node, folder.account, folder.genesis, purse)
    await place.take(model, options.price_floor)
