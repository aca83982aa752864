"""Which network is meant: what the bytes of a genesis file must hash to.

Law: pure. The hash is compared before anything of a stranger's file is decoded; what was decoded must encode to the
same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from p2p.base.codec import encode, unpack
from p2p.base.errors import ConfigError, FolkmootError, RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.keys import digest
from p2p.ledger.genesis import check_genesis


@dataclass(frozen=True, slots=True)
class Identity:
    """Empty strings: not known."""

    network: str = ""  # NAME@HASH
    sha256: str = ""  # of the file's bytes, hexadecimal
    digits: str = ""  # the first of the genesis hash, hexadecimal

    @property
    def is_known(self) -> bool:
        """Whether a file can be told from any other."""
        return bool(self.network or self.sha256 or self.digits)

    def joined(self, other: Identity) -> Identity:
        """Both at once: a file must be what each of them says. Raises ConfigError where they name two networks."""
        if self.network and other.network and self.network != other.network:
            raise ConfigError(f"the network's file is for {self.network}, not {other.network}", field="genesis_hash")
        return Identity(
            self.network or other.network, self.sha256 or other.sha256, self.digits or other.digits
        )

    def check(self, raw: bytes, source: str) -> Genesis:
        """The genesis in the bytes `raw`, which `source` gave.

        Raises RemoteProtocolError where it is another network's, or none.
        """
        found, sha256 = digest(b"genesis", raw).hex(), hashlib.sha256(raw).hexdigest()
        known = self.network.partition("@")[2]
        for name, has, wanted in (
            ("hash", found, known), ("hash", found, self.digits), ("SHA-256", sha256, self.sha256),
        ):
            if not has.startswith(wanted):
                shown = has[: len(wanted)]
                raise _other(f"the genesis file from {source} has the {name} {shown}, and {wanted} is wanted")
        try:
            genesis = unpack(Genesis, raw)
            check_genesis(genesis)
        except FolkmootError as error:
            raise _other(f"what {source} gave is no genesis file of this program: {error.message}") from error
        if encode(genesis) != raw or self.network not in ("", genesis.network):
            what = f"is not of {self.network}" if self.network else "is not encoded as this program does"
            raise _other(f"the genesis file from {source} {what}")
        return genesis


def _other(message: str) -> RemoteProtocolError:
    advice = "nothing was written; ask another peer, or compare the network's id with its founders' own"
    return RemoteProtocolError(f"{message}; {advice}", field="genesis", code="other_genesis")
