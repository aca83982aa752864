"""Facts of `folkmoot doctor` about this machine and the files of one peer: limits, hardware, store, models.

Law: as in checkup.py: it changes nothing and judges nothing.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from pathlib import Path

from p2p.base.errors import FolkmootError
from p2p.base.files import exists
from p2p.base.keys import Key
from p2p.inference.stack.fits import Fit, fit
from p2p.inference.stack.hardware import Hardware, look
from p2p.inference.stack.weights import wrong_with
from p2p.peer.config import NodeConfig
from p2p.store.lmdb import Store


@dataclass(slots=True)
class MachineFacts:
    """An empty error says that all is well; None: there was nothing to look at."""

    hardware: Hardware | None = None
    open_files: int = 0  # that this user's processes may have; of one started from here
    account: str | None = None  # what is wrong with account.key
    store: str | None = None  # what is wrong with the data
    models: dict[str, str] = field(default_factory=dict)  # folder -> what is wrong with its files
    fits: dict[str, Fit] = field(default_factory=dict)  # folder -> whether it fits here


def look_around(directory: Path, config: NodeConfig | None, *, runs: bool) -> MachineFacts:
    """runs: the peer has its store open, and its models in memory."""
    facts = MachineFacts(look(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if exists(directory / "account.key"):
        facts.account = _error_of(lambda: Key.load(directory / "account.key"))
    if not runs and exists(directory / "data" / "data.mdb"):
        facts.store = _error_of(lambda: Store(directory / "data").close())
    for one in config.every_ml_node if config is not None else ():
        folder = one.path
        if folder is None:
            continue
        facts.models[str(folder)] = wrong_with(folder)
        if not runs and not facts.models[str(folder)]:
            weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            facts.fits[str(folder)] = fit(weights, facts.hardware or look())
    return facts


def _error_of(act: object) -> str:
    """What `act` raises, as a sentence; empty where it does not."""
    assert callable(act)
    try:
        act()
    except FolkmootError as error:
        return error.message
    return ""
