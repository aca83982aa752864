"""A part of `make pages`: every page in Chromium over a real network, real processes, SIMULATED engines.

Four peers, a gateway, an explorer of its own, some finished inferences, a sprint. Each page must be drawn without a
complaint of the browser and without a serious finding of axe, at two widths, light and dark; each draw must hold.
A picture of each is kept in .bench/pages. It is not a part of `make test`, because it takes minutes; the short form
there is in tests/gateway/test_live.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from tests.explorer.axe import SERIOUS, axe_source, findings
from tests.explorer.browser import Browser, Page, connected, running
from tests.explorer.places import SCHEMES, WIDTHS, Place, inference_place
from tests.explorer.scene import Scene
from tests.tools.pages_shots import NOBODY, network_places, take

pytestmark = pytest.mark.network
PICTURES = Path(".bench/pages")
_HOLDS = "[...document.querySelectorAll('#draw-checks .mark')].every(one => one.ariaLabel === 'holds')"
_BOUND = "document.body.innerText.includes('hashes to the root on chain')"


@dataclass(frozen=True, slots=True)
class Stage:
    """What all tests of this file use."""

    scene: Scene
    folder: Path
    places: list[Place]
    axe: str
    devtools: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    axe, folder = axe_source(), tmp_path_factory.mktemp("scene")
    with running() as devtools:
        scene = Scene(folder, sprint=True)
        try:
            for inference_id in scene.ask_all():
                scene.ended(inference_id)
            yield Stage(scene, folder, network_places(scene.url), axe, devtools)
        finally:
            scene.close()


async def _faults(browser: Browser, url: str, place: Place, axe: str, *, own: bool) -> list[str]:
    """own: whether the gateway at `url` asked for the inferences, and so has their proofs."""
    found: list[str] = []
    for width, dark in ((width, dark) for width in WIDTHS for dark in SCHEMES):
        name = f"{'full' if own else 'alone'}-{place.name}-{width}-{'dark' if dark else 'light'}"
        async with browser.page(width, dark=dark) as page:
            await take(page, url, place, "full", PICTURES / f"{name}.png")
            found += [f"{name}: {one}" for one in await _looked(page, place, axe, own=own)]
    return found


async def _looked(page: Page, place: Place, axe: str, *, own: bool) -> list[str]:
    if "/inferences/" in place.path:
        await page.wait(_HOLDS)
        if own:
            await page.wait(_BOUND)
    found = [str(one) for one in await findings(page, axe) if one["impact"] in SERIOUS]
    # a header that is not decided yet is asked for again, and the browser notes each 404; so for a foreign proof
    waits = [one for one in page.complaints if "/headers/" in one and "404" in one]
    found += [one for one in page.complaints if one not in waits and (own or "/proof" not in one)]
    if await page.eval("document.documentElement.scrollWidth > innerWidth"):
        found.append("it is wider than its window")
    return found


def test_every_page_of_a_gateway_is_drawn_and_holds(stage: Stage) -> None:
    async def look() -> list[str]:
        found: list[str] = []
        async with connected(stage.devtools) as browser:
            for place in stage.places:
                found += await _faults(browser, stage.scene.url, place, stage.axe, own=True)
        return found

    assert trio.run(look) == []


@pytest.mark.parametrize("kind", ["structured", "later_turn"])
def test_the_page_of_each_kind_of_inference_holds(stage: Stage, kind: str) -> None:
    """An answer that keeps to a JSON schema, and a later turn of a session, whose draw is that of the session."""
    inference_id = getattr(stage.scene, kind)()
    stage.scene.ended(inference_id)
    story = stage.scene.api(f"draws/{inference_id}")
    assert story["session_height"] > 0, "a gateway's conversation is a session from its first turn on"
    assert (story["draw_height"] > story["session_height"]) == (kind == "later_turn")
    place = replace(inference_place(inference_id), name=kind)

    async def look() -> list[str]:
        found: list[str] = []
        async with connected(stage.devtools) as browser:
            found += await _faults(browser, stage.scene.url, place, stage.axe, own=True)
            async with browser.page() as page:
                await page.goto(f"{stage.scene.url}/explorer/{place.path}")
                await page.wait(f"{place.shows} && {_HOLDS}")
                print("\n" + await page.text("#draw-checks"))
        return found

    assert trio.run(look) == []


def test_an_answer_of_the_sprint_has_a_page_without_a_draw(stage: Stage) -> None:
    rows = stage.scene.api("inferences?limit=100")["inferences"]
    sprints = [row["id"] for row in rows if row["account"] == NOBODY]
    assert sprints, "the sprint's answers are inferences"

    async def look() -> str:
        async with connected(stage.devtools) as browser, browser.page() as page:
            await page.goto(f"{stage.scene.url}/explorer/#/inferences/{sprints[0]}")
            await page.ready()
            await page.wait("!document.body.innerText.includes('Looking for')")
            assert not await page.eval("document.querySelector('#draw-checks')")
            return await page.text()

    text = trio.run(look)
    assert "Nothing was drawn" in text
    assert "other executors" not in text


def test_an_explorer_of_its_own_shows_the_same_network(stage: Stage) -> None:
    url = stage.scene.explorer(stage.folder).removesuffix("/explorer/")

    async def look() -> list[str]:
        found: list[str] = []
        async with connected(stage.devtools) as browser:
            for place in stage.places:
                if place.name in ("overview", "inference", "hosts", "map"):
                    found += await _faults(browser, url, place, stage.axe, own=False)
        return found

    assert trio.run(look) == []


def test_blocks_and_a_new_inference_come_by_themselves(stage: Stage) -> None:
    async def look() -> None:
        async with connected(stage.devtools) as browser, browser.page() as page:
            await page.goto(f"{stage.scene.url}/explorer/#/")
            await page.ready()
            top = int((await page.text(".tile dd a")).replace(",", ""))
            name = await trio.to_thread.run_sync(stage.scene.ask, "And a new one?")
            await page.wait(f"document.body.innerText.includes('{name[:8]}')")
            await page.wait(f"Number(document.querySelector('.tile dd a').innerText.replace(',', '')) > {top}")

    trio.run(look)
