"""DIR/lab.toml: what a test network's peer does that no honest peer does. It lies in the same folder as config.toml.

Law: only the lab's own entry points read it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from p2p.base.errors import ConfigError
from p2p.base.files import exists
from p2p.base.toml_file import read_toml
from p2p.lab import attacks
from p2p.peer.config import Count, Text, check_printable, from_table, is_url

FILE = "lab.toml"
COLLUDING = "colluding_validator"


class LabSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cheat: Text | None = None  # an attack of p2p/lab/attacks, by name
    honest_ml_node: Text | None = None  # URL of a vLLM with the claimed model, where the cheat's ML node runs another
    cheat_friends: tuple[Text, ...] = ()  # node keys (64 hexadecimal digits) that a colluding validator calls valid
    # plant a fault this often, in an answer to this peer's own owner; the owner's account (account.key) must have money
    plant_interval_ms: Count | None = None


def load_settings(directory: Path) -> LabSettings:
    """Read DIR/lab.toml; without one the peer is honest. Raises ConfigError that names the setting."""
    file = directory / FILE
    table = read_toml(file, field="lab") if exists(file) else {}
    for name, value in table.items():
        if name not in LabSettings.__struct_fields__:
            known = ", ".join(sorted(LabSettings.__struct_fields__))
            raise ConfigError(f"there is no such setting; the settings are {known}", field=name)
        check_printable(name, value)
    found = from_table(LabSettings, table)
    if found.cheat is not None:
        attacks.get(found.cheat)
    url = found.honest_ml_node
    if url is not None and not is_url(url):
        raise ConfigError(f"give an http URL or unix:/PATH, not {url!r:.200}", field="honest_ml_node")
    if found.cheat_friends and found.cheat != COLLUDING:
        raise ConfigError(f"leave it out: only a {COLLUDING} has friends", field="cheat_friends")
    if not all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in found.cheat_friends):
        raise ConfigError("give node keys, each of 64 hexadecimal digits", field="cheat_friends")
    return found
