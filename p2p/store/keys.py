"""The key layout of the store: its databases and how their keys are made.

Law: a change of the layout, or of any stored encoding, changes SCHEMA and adds a
step to migrations.py; a store with another schema is refused.
"""

from __future__ import annotations

SCHEMA = 11  # written into each store; one byte
DATABASES = (
    "meta",  # the schema, the genesis and the chain's tip
    "state",  # the ledger's state: key -> value
    "blocks",  # blocks with their certificates, and their receipts
    "guard",  # what this peer's key has signed
    "payloads",  # answers that a check may need
    "snapshots",  # chunks of the state at an epoch's end
    "tree",  # inner pages of the state tree
    "archive",  # what left the state, with its proof
)


HEIGHT_BYTES = 8

# Keys of the database "meta".
SCHEMA_KEY = b"schema"  # SCHEMA, one byte
MIGRATING = b"migrating"  # which step runs, and how far it is (migrations.py)
GENESIS = b"genesis"  # the genesis file's content
TIP = b"tip"  # the last header and what goes with it (chain/state.py)
FIRST_BLOCK = b"base"  # the lowest height whose block is kept
SENT_BATCHES = b"sent/"  # prefix of sent_batch


def sent_batch(nonce: int) -> bytes:
    """-> a batch of this peer that the chain does not have yet."""
    return SENT_BATCHES + height_key(nonce)


def height_key(height: int) -> bytes:
    """The key of a height: 8 bytes, big-endian, so that keys sort by height."""
    return height.to_bytes(HEIGHT_BYTES, "big")
