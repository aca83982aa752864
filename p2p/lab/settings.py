"""What a test network's peer does that no honest one does: DIR/lab.toml, beside config.toml. Law: read by the lab's
entry points only.
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
    # URL of a vLLM with the claimed model, where the cheat's own ML node has another
    honest_ml_node: Text | None = None
    cheat_friends: tuple[Text, ...] = ()  # node keys, hexadecimal, that a colluding validator calls valid
    # plant a fault in an answer to this peer's own owner this often: account.key must have money
    plant_interval_ms: Count | None = None


def load_settings(directory: Path) -> LabSettings:
    """DIR/lab.toml; without one nothing is out of the ordinary. Raises ConfigError that names the setting."""
    file = directory / FILE
    table = read_toml(file, field="lab") if exists(file) else {}
    for name, value in table.items():
        if name not in LabSettings.__struct_fields__:
            raise ConfigError(
                f"no such setting; there are {', '.join(sorted(LabSettings.__struct_fields__))}", field=name
            )
        check_printable(name, value)
    found = from_table(LabSettings, table)
    if found.cheat is not None:
        attacks.get(found.cheat)
    if found.honest_ml_node is not None and not is_url(found.honest_ml_node):
        raise ConfigError(
            f"{found.honest_ml_node!r:.200} is neither an http URL nor unix:/PATH", field="honest_ml_node"
        )
    if found.cheat_friends and found.cheat != COLLUDING:
        raise ConfigError(f"only a {COLLUDING} has friends", field="cheat_friends")
    if not all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in found.cheat_friends):
        raise ConfigError("node keys of 64 hexadecimal digits are wanted", field="cheat_friends")
    return found
