"""`make pages-weight`: what each page weighs, and when it shows something, in a headless Chromium on loopback.

Bytes are those of all answers of one first visit, with headers, as they were sent (packed) and unpacked. First paint is
the browser's own `first-contentful-paint`, the median of several visits with an empty cache; `drawn` is when the page's
own data are shown; `cpu` is what its main thread computed until then. Times on a busy machine are the machine's, so the
load is printed; `cpu` is the page's own.

    python -m tests.tools.pages_weight [--visits 5]
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from statistics import median

import trio

from p2p.gateway.app import new_app
from tests.explorer.browser import Browser, open_browser
from tests.explorer.places import places
from tests.explorer.scripted import NODES, PAYER, Scripted, served
from tests.gateway.scripted import saying

GOAL_KB, GOAL_MS = 200, 300
_READ = """(() => {
  const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  const paint = performance.getEntriesByName('first-contentful-paint')[0]
  return {sent: all.reduce((s, e) => s + e.transferSize, 0), plain: all.reduce((s, e) => s + e.decodedBodySize, 0),
    files: all.length, paint: paint ? paint.startTime : null, drawn: performance.now()}
})()"""


@dataclass(frozen=True, slots=True)
class Weight:
    """One visit."""

    sent: int
    plain: int
    files: int
    paint: float | None
    drawn: float
    cpu: float  # milliseconds


async def visit(browser: Browser, url: str, path: str, ready: str) -> Weight:
    async with browser.page() as page:  # a profile of its own, so nothing is cached
        await page.call("Performance.enable", timeDomain="threadTicks")
        await page.goto(f"{url}{path}")
        await page.wait(ready)
        await page.wait("performance.getEntriesByName('first-contentful-paint').length")
        found = (await page.call("Performance.getMetrics"))["metrics"]
        cpu = next(one["value"] for one in found if one["name"] == "TaskDuration")
        return Weight(**await page.eval(_READ), cpu=1000 * cpu)


async def run(visits: int) -> bool:
    """Whether every page reaches both goals."""
    source = Scripted()
    name = next(name for name, one in source.stories.items() if one.status == "VALIDATED")
    drawn = "document.getElementById('content').dataset.ready"
    found = [(one.name, f"/explorer/{one.path}", drawn) for one in places(name, NODES[6].hex(), PAYER.hex())
             if one.name != "search"]
    found.append(("chat", "/chat/", "document.body.dataset.ready"))
    good = True
    print(f"{'page':14} {'kB sent':>8} {'kB plain':>9} {'answers':>8} {'first paint ms':>15} {'drawn ms':>9} "
          f"{'cpu ms':>7}")
    async with served(source, new_app(saying("Hello."))) as url, open_browser() as browser:
        await visit(browser, url, "/explorer/", drawn)  # the browser itself is warm then
        for page, path, ready in found:
            seen = [await visit(browser, url, path, ready) for _ in range(visits)]
            paint, last = median(one.paint or 0 for one in seen), seen[-1]
            good &= last.sent <= GOAL_KB * 1000 and paint <= GOAL_MS
            print(f"{page:14} {last.sent / 1000:8.1f} {last.plain / 1000:9.1f} {last.files:8} {paint:15.0f} "
                  f"{median(one.drawn for one in seen):9.0f} {median(one.cpu for one in seen):7.0f}", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"goal: {GOAL_KB} kB sent, {GOAL_MS} ms to the first paint: {'reached' if good else 'MISSED'}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--visits", type=int, default=5, help="of each page (default: %(default)s)")
    trio.run(run, parser.parse_args().visits)


if __name__ == "__main__":
    main()
