"""`make gateway-abuse`: what clients do to a gateway, what they get, and how the gateway is after it.

A live gateway over four real peers with SIMULATED engines. Exit code 1 when anything got what it should not.

    python -m tests.tools.abuse [--seconds 300] [--only NAME,...] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import httpx
import trio

from tests.tools.abuse import deeds, lies
from tests.tools.abuse.overload import overload
from tests.tools.abuse.scene import Scene, running

QUICK_VALUES = ("x", {}, -1)
QUICK_S = 15.0


def table(seconds: float, *, quick: bool = False) -> dict[str, deeds.Deed]:
    """The deeds by name, in order."""
    return {
        "1,000 idle clients": deeds.idle,
        "half-open connections": deeds.half_open,
        "bytes of a head, slowly": deeds.slow_head,
        "huge heads": deeds.large_head,
        "a body of 100 MB": deeds.large_body,
        "no UTF-8, deep JSON": deeds.wrong_text,
        "framing, smuggling": deeds.framing,
        "pipelined requests": deeds.pipelined,
        "32,000 tokens": deeds.long_prompt,
        "lies: length, model, key": lies.wrong_claims,
        "lies: types of fields": partial(lies.wrong_types, values=QUICK_VALUES) if quick else lies.wrong_types,
        "slow readers": deeds.slow_readers,
        "10x overload": partial(overload, seconds=seconds),
    }


async def run(net_url_key: tuple[object, str, str], chosen: dict[str, deeds.Deed]) -> list[tuple[str, str, str]]:
    """(deed, what it got, the gateway after it); what is wrong begins with WRONG."""
    net, url, key = net_url_key
    rows = []
    async with httpx.AsyncClient() as http:
        scene = Scene(net, url, key, http)  # type: ignore[arg-type]
        await scene.after()
        scene.rss_at_first = scene.rss()
        for name, deed in chosen.items():
            try:
                row = (name, await deed(scene), await scene.after())
            except (AssertionError, trio.TooSlowError, httpx.HTTPError) as error:
                row = (name, f"WRONG: {error!r}"[:600], "")
            print(f"[{time.strftime('%H:%M:%S')}] {' | '.join(row)}", file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of overload (default: %(default)s)")
    parser.add_argument("--only", default="", help="beginnings of names, with commas between them")
    parser.add_argument("--quick", action="store_true", help="fewer wrong values, and a short overload")
    options = parser.parse_args()
    every = table(QUICK_S if options.quick else options.seconds, quick=options.quick)
    wanted = tuple(word for word in options.only.split(",") if word)
    chosen = {name: deed for name, deed in every.items() if not wanted or name.startswith(wanted)}
    with tempfile.TemporaryDirectory(prefix="folkmoot-abuse-") as folder, running(Path(folder) / "net") as found:
        rows = trio.run(run, found, chosen)
    print("| what was done | what it got | the gateway after it |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 1 if any(got.startswith("WRONG") for _, got, _ in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
