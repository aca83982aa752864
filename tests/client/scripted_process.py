"""One scripted peer in a process of its own, so that a test can kill it. Prints its address.

    python -m tests.client.scripted_process FOLDER SEED
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from p2p.base.genesis import load_genesis
from p2p.base.keys import Key
from tests.client.liar import Liar
from tests.client.scripted import Script, ScriptedPeer
from tests.client.scripted_net import listening


async def main(folder: Path, seed: bytes) -> None:
    liar = Liar(folder, load_genesis(folder / "genesis.cbor"))
    peer = ScriptedPeer(liar, Key(seed), [Script(waits_s=0.1)] * 100)
    async with listening([peer]) as (address,):
        print(address, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))
