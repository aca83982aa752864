"""A headless Chromium for tests, driven by its own protocol (CDP) over a websocket.

Law: a browser ends with its block, with all that it kept. What a page complains about is collected, never lost. Waits
are for events of the page. Without Chromium a test is skipped and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60.0
_LISTENING = "DevTools listening on "
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "about:blank",
)
_WAIT = """new Promise(done => {
  const look = () => { try { if (%s) { seen.disconnect(); clearInterval(timer); done(true) } } catch {} }
  const seen = new MutationObserver(look)
  seen.observe(document, {subtree: true, childList: true, attributes: true, characterData: true})
  const timer = setInterval(look, 200)
  look()
})"""


def chromium() -> str:
    """The program. Skips the test where there is none."""
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: scripts/browser-tools.sh installs Debian's, or set CHROMIUM")
    return found


class Broken(AssertionError):
    """The browser refused a command."""


@dataclass(eq=False)
class Page:
    """One tab."""

    browser: Browser
    session: str
    complaints: list[str] = field(default_factory=list)  # errors of scripts, refused loads, violations of the policy
    requests: list[str] = field(default_factory=list)  # addresses
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # part of an address -> (status, body) instead
    held: list[str] = field(default_factory=list)  # parts of addresses that are never answered

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.browser.call(method, self.session, **params)

    async def size(self, width: int, height: int = 900) -> None:
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                        mobile=width < 600)

    async def scheme(self, dark: bool) -> None:
        value = "dark" if dark else "light"
        await self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": value}, {"name": "prefers-reduced-motion", "value": "reduce"}])

    async def goto(self, url: str) -> None:
        """Load it anew, to the end."""
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def eval(self, expression: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True,
        )
        if "exceptionDetails" in found:
            raise Broken(found["exceptionDetails"].get("exception", {}).get("description", str(found)))
        return found["result"].get("value")

    async def wait(self, condition: str) -> None:
        """Until a condition holds. Raises AssertionError after PATIENCE_S, with what the page shows."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                try:
                    await self.eval(_WAIT % condition)
                    return
                except Broken as error:  # the page was left meanwhile
                    if "navigat" not in str(error) and "destroyed" not in str(error) and "context" not in str(error):
                        raise
        shown = await self.eval("document.body.innerText.slice(0, 3000)")
        raise AssertionError(f"{condition} did not become true; {self.complaints}; the page shows:\n{shown}")

    async def ready(self) -> None:
        """Until a page of the explorer is drawn."""
        await self.wait("document.getElementById('content')?.dataset.ready")

    async def text(self, selector: str = "#content") -> str:
        return str(await self.eval(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def key(self, key: str, code: int = 0, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def shot(self, file: Path, *, whole: bool = True) -> None:
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        if whole:
            size = await self.call("Page.getLayoutMetrics")
            box = size["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": box["width"], "height": min(box["height"], 4000), "scale": 1}
            found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        await trio.to_thread.run_sync(file.write_bytes, b64decode(found["data"]))

    async def intercept(self) -> None:
        """From now on `answers` and `held` count."""
        await self.call("Fetch.enable", patterns=[{"urlPattern": "*"}])

    async def _paused(self, params: dict[str, Any]) -> None:
        url, ident = params["request"]["url"], params["requestId"]
        if any(part in url for part in self.held):
            return
        for part, (status, body) in self.answers.items():
            if part in url:
                await self.call(
                    "Fetch.fulfillRequest", requestId=ident, responseCode=status, body=b64encode(body).decode(),
                    responseHeaders=[{"name": "content-type", "value": "application/json"}],
                )
                return
        await self.call("Fetch.continueRequest", requestId=ident)

    async def heard(self, method: str, params: dict[str, Any]) -> None:
        """An event of this tab."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details.get("text"))))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Fetch.requestPaused":
            await self._paused(params)


@dataclass(eq=False)
class Browser:
    """A running Chromium."""

    socket: Any
    nursery: trio.Nursery
    number: int = 0
    waiting: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = field(default_factory=dict)
    pages: dict[str, Page] = field(default_factory=dict)

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self.number += 1
        number, done, box = self.number, trio.Event(), list[dict[str, Any]]()
        self.waiting[number] = (done, box)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        await self.socket.send_message(json.dumps(message))
        await done.wait()
        if "error" in box[0]:
            raise Broken(f"{method}: {box[0]['error']}")
        return dict(box[0]["result"])

    async def listen(self) -> None:
        while True:
            message = json.loads(await self.socket.get_message())
            if "id" in message:
                done, box = self.waiting.pop(message["id"])
                box.append(message)
                done.set()
            elif (page := self.pages.get(message.get("sessionId", ""))) is not None:
                self.nursery.start_soon(page.heard, message["method"], message["params"])

    @asynccontextmanager
    async def page(self, width: int = 1280, *, dark: bool = False) -> AsyncIterator[Page]:
        """A tab with storage of its own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.size(width)
        await page.scheme(dark)
        try:
            yield page
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
                del self.pages[session]
                await self.call("Target.disposeBrowserContext", browserContextId=context)


@contextmanager
def running() -> Iterator[str]:
    """A Chromium of its own; the address of its protocol. Skips the test where there is none."""
    program = chromium()
    with tempfile.TemporaryDirectory(prefix="folkmoot-chromium-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [program, f"--user-data-dir={folder}/data", *_FLAGS], stdout=subprocess.DEVNULL, stderr=out,
                start_new_session=True,
            )
        try:
            yield _devtools(process, log)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _devtools(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith(_LISTENING):
                return line.removeprefix(_LISTENING).strip()
        time.sleep(0.05)
    raise AssertionError(f"Chromium did not start: {log.read_text(errors='replace')[-1500:]}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Browser]:
    """To a running one."""
    trio_websocket = pytest.importorskip("trio_websocket", reason="trio-websocket is not installed")
    async with trio_websocket.open_websocket_url(url, max_message_size=64 << 20) as socket:
        async with trio.open_nursery() as nursery:
            browser = Browser(socket, nursery)
            nursery.start_soon(browser.listen)
            yield browser
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """One that ends with the block."""
    with running() as url:
        async with connected(url) as browser:
            yield browser
