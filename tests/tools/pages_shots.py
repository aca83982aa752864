"""`make pages-shots`: a picture of each page, full, empty and failing, at two widths, light and dark.

The full ones are of a real network of real processes with SIMULATED engines and some finished inferences; the empty
ones of a scripted network without blocks; the failing ones of pages whose API answers with errors.

    python -m tests.tools.pages_shots [--out .bench/pages] [--states full,empty,failing] [--url URL]
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import trio

from p2p.gateway.app import new_app
from tests.explorer.browser import Page, open_browser
from tests.explorer.places import FAILING, SCHEMES, WIDTHS, Place, places
from tests.explorer.scene import Scene
from tests.explorer.scripted import NODES, PAYER, Scripted, served
from tests.gateway.scripted import saying

STATES = ("full", "empty", "failing")
_CHAT = Place("chat", "/chat/")
NOBODY = "00" * 32


def network_places(url: str) -> list[Place]:
    """The pages of a running network, about its own things; first inferences that were checked."""
    def api(path: str) -> Any:
        return httpx.get(f"{url}/explorer/api/{path}", timeout=60).raise_for_status().json()

    found = api("inferences?limit=100")["inferences"]
    peers = api("map")["peers"]
    found = [row for row in found if row["account"] != NOBODY]  # an answer of the sprint has no draw and no money
    found.sort(key=lambda row: (-(row["valid"] + row["invalid"]), -row["number"]))
    hosts = api("participants?limit=1")["participants"]
    if not found or not hosts:
        return [*places(NOBODY, NOBODY, NOBODY), _CHAT]
    about = places(found[0]["id"], hosts[0]["conduct"]["node"], found[0]["account"], block=found[0]["start_height"],
                   search=peers[0]["peer_id"] if peers else "8")  # a peer's id finds the peer and its participant
    return [*about, _CHAT]


async def take(page: Page, url: str, place: Place, state: str, file: Path) -> None:
    """One picture."""
    if place is _CHAT:
        await _chat(page, url, state)
    else:
        await page.goto(f"{url}/explorer/{place.path}")
        await page.ready()
        if state == "full":
            await page.wait(place.shows)
    await page.shot(file, whole=place is not _CHAT)


async def _chat(page: Page, url: str, state: str) -> None:
    await page.goto(f"{url}/chat/")
    await page.wait("document.body.dataset.ready")
    if state == "full":
        await page.eval("document.getElementById('text').value = 'What is a village meeting?';"
                        "document.getElementById('most').value = 60;"
                        "document.getElementById('ask').requestSubmit()")
        await page.wait("document.querySelector('.about .badge')")
        await page.eval("document.querySelector('.prove').click()")
        await page.wait("document.querySelector('.proof')")


async def shots(url: str, state: str, found: list[Place], out: Path) -> int:
    """Pictures of all pages at `url`. How many."""
    count = 0
    async with open_browser() as browser:
        for width in WIDTHS:
            for dark in SCHEMES:
                async with browser.page(width, dark=dark) as page:
                    if state == "failing":
                        page.answers.update(FAILING)
                        await page.intercept()
                    for place in found:
                        name = f"{state}-{place.name}-{width}-{'dark' if dark else 'light'}.png"
                        await take(page, url, place, state, out / name)
                        count += 1
    return count


async def scripted_shots(state: str, out: Path) -> int:
    empty = state == "empty"
    source = Scripted(tops=0, asked=0) if empty else Scripted()
    backend = saying("")
    if empty:
        backend.cards, backend.balance = (), 0
    name = next(iter(source.stories), "00" * 32)
    found = [*places(name, NODES[6].hex(), PAYER.hex(), search="beef"), _CHAT]
    async with served(source, new_app(backend)) as url:
        return await shots(url, state, found, out)


def full_shots(url: str | None, out: Path) -> int:
    with ExitStack() as stack:
        if url is None:
            scene = Scene(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-pages-"))), sprint=True)
            stack.callback(scene.close)
            for inference_id in scene.ask_all():
                scene.ended(inference_id)
            url = scene.url
        return trio.run(shots, url, "full", network_places(url), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".bench/pages"), help="a folder (default: %(default)s)")
    parser.add_argument("--states", default=",".join(STATES), help="some of them (default: %(default)s)")
    parser.add_argument("--url", help="a running gateway's or explorer's address, for the full ones")
    given = parser.parse_args()
    for state in given.states.split(","):
        count = full_shots(given.url, given.out) if state == "full" else trio.run(scripted_shots, state, given.out)
        print(f"{state}: {count} pictures in {given.out}", flush=True)


if __name__ == "__main__":
    main()
