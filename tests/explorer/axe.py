"""axe-core, the checker of accessibility, from npm.

Law: installed from its lock file when a test first needs it; without npm the test is skipped and says so.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.explorer.browser import Page
from tests.interop.node_js import MIRROR, install, node

FOLDER = "tests/explorer/js"
_RUN = """axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations.map(one => ({
  id: one.id, impact: one.impact,
  nodes: one.nodes.slice(0, 3).map(node => `${node.html.slice(0, 200)} | ${node.failureSummary.slice(0, 300)}`)
}))))"""
SERIOUS = ("serious", "critical")


def axe_source() -> str:
    """Its script."""
    found = node()
    if found is None:
        pytest.skip("no Node.js here that is new enough: run `make .venv/.node`")
    try:
        install(FOLDER, found[1])
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        pytest.skip(f"npm could not install axe-core: {error} {said.decode(errors='replace')[-300:]}")
    return (MIRROR / FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def findings(page: Page, source: str) -> list[dict[str, Any]]:
    """What it finds in the page as it is now: id, impact, and the first places."""
    await page.eval(source + ";0")
    found = await page.eval(_RUN)
    return list(json.loads(found))
