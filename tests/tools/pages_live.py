"""A part of `make pages`: every page in Chromium over a real network, real processes, SIMULATED engines.

Four peers, a gateway, an explorer of its own, some finished inferences, a sprint. Each page must be drawn without a
complaint of the browser and without a serious finding of axe, at two widths, light and dark; each draw must hold.
Exit status 1 where one does not.

    python -m tests.tools.pages_live
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from tests.explorer.axe import SERIOUS, axe_source, findings
from tests.explorer.browser import Browser, open_browser
from tests.explorer.places import SCHEMES, WIDTHS, Place
from tests.explorer.scene import Scene
from tests.tools.pages_shots import network_places

_HOLDS = "[...document.querySelectorAll('#draw-checks .mark')].every(one => one.ariaLabel === 'holds')"
_BOUND = "document.body.innerText.includes('hashes to the root on chain')"


async def look(url: str, found: list[Place], axe: str, *, own: bool) -> list[str]:
    """One line for each fault. own: whether the gateway at `url` asked for the inferences, and so has their proofs."""
    faults: list[str] = []
    async with open_browser() as browser:
        for place in found:
            faults += await _one(browser, url, place, axe, own=own)
    return faults


async def _one(browser: Browser, url: str, place: Place, axe: str, *, own: bool) -> list[str]:
    faults: list[str] = []
    for width, dark in ((width, dark) for width in WIDTHS for dark in SCHEMES):
        async with browser.page(width, dark=dark) as page:
            await page.goto(f"{url}/explorer/{place.path}" if place.path.startswith("#") else url + place.path)
            await page.wait("document.getElementById('content').dataset.ready || document.body.dataset.ready")
            await page.wait(place.shows)
            if place.name == "inference":
                await page.wait(_HOLDS)
                if own:
                    await page.wait(_BOUND)
            serious = [one for one in await findings(page, axe) if one["impact"] in SERIOUS]
            bad = [f"axe: {one['id']} {one['nodes'][0]}" for one in serious]
            bad += [one for one in page.complaints if own or "/proof" not in one]
            if await page.eval("document.documentElement.scrollWidth > innerWidth"):
                bad.append("wider than its window")
            faults += [f"{place.name} {width} {'dark' if dark else 'light'}: {one}" for one in bad]
    print(f"{url} {place.name}: {'; '.join(faults) or 'good'}", flush=True)
    return faults


def main() -> int:
    axe = axe_source()
    with tempfile.TemporaryDirectory(prefix="folkmoot-pages-") as folder:
        scene = Scene(Path(folder), sprint=True)
        try:
            for inference_id in scene.ask_all():
                scene.ended(inference_id)
            found = network_places(scene.url)
            faults = trio.run(lambda: look(scene.url, found, axe, own=True))
            other = scene.explorer(Path(folder)).removesuffix("/explorer/")
            alone = [place for place in found if place.name in ("overview", "inference", "hosts", "map")]
            faults += trio.run(lambda: look(other, alone, axe, own=False))
        finally:
            scene.close()
    print(f"{len(found) + len(alone)} pages, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
