"""The pages in a real headless Chromium, over a scripted network: full, empty, loading, failing; keys; foreign text;
accessibility. tests/gateway/test_live.py and `make pages` look at a real network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from p2p.gateway.app import new_app
from p2p.gateway.http.asgi import App
from p2p.gateway.keys import Keys
from tests.explorer.axe import SERIOUS, axe_source, findings
from tests.explorer.browser import Page, connected, running
from tests.explorer.places import FAILING, WIDTHS, places
from tests.explorer.scripted import HOSTILE, NODES, PAYER, Scripted, nothing_else, served
from tests.gateway.scripted import Answer, ScriptedBackend, saying

CHROMIUM: list[str] = []  # the address of the one that all tests of this file share


@pytest.fixture(autouse=True, scope="module")
def _chromium() -> Iterator[None]:
    with running() as url:
        CHROMIUM[:] = [url]
        yield


def all_places(source: Scripted) -> list[tuple[str, str, str]]:
    name = next((name for name, one in source.stories.items() if one.status == "VALIDATED"), "00" * 32)
    found = places(name, NODES[6].hex(), PAYER.hex())
    return [(one.name, one.path, one.shows) for one in found]


@asynccontextmanager
async def shown(source: Scripted, backend: ScriptedBackend | None = None, keys: Keys | None = None,
                width: int = 1280, *, dark: bool = False) -> AsyncIterator[tuple[str, Page]]:
    """(address, tab)."""
    app = new_app(backend or saying("Hello there."), keys)
    async with served(source, app) as url, connected(CHROMIUM[0]) as browser:
        async with browser.page(width, dark=dark) as page:
            yield url, page


def unexpected(page: Page) -> list[str]:
    """Complaints, but for those about a proof that the gateway does not keep, which the page asks for."""
    return [one for one in page.complaints if "/proof" not in one]


async def test_every_page_is_drawn_in_both_widths_and_schemes_without_a_serious_finding_of_axe() -> None:
    axe, source = axe_source(), Scripted()
    bad: list[object] = []
    async with shown(source) as (url, page):
        for number, (name, path, shows) in enumerate(all_places(source)):
            dark = number // 2 % 2 == 1  # each page in one of four ways; `make pages` has all of them
            await page.size(WIDTHS[number % 2])
            await page.scheme(dark)
            await page.goto(f"{url}/explorer/{path}")
            await page.ready()
            if name != "search":
                await page.wait(shows)
            bad += [(name, dark, one) for one in await findings(page, axe) if one["impact"] in SERIOUS]
            wide = await page.eval("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name} is wider than its window"
        assert bad == [], "\n".join(map(str, bad))
        assert unexpected(page) == []
        assert {one.split("/")[2] for one in page.requests if one.startswith("http")} == {url.removeprefix("http://")}


async def test_every_page_says_that_it_is_empty() -> None:
    source = Scripted(tops=0, asked=0)
    async with shown(source) as (url, page):
        for name, path, _ in all_places(source):
            if name in ("block", "inference", "participant", "account"):
                continue
            await page.goto(f"{url}/explorer/{path}")
            await page.ready()
            assert await page.eval("document.querySelectorAll('.nothing, #content .tile').length > 0"), name
            assert await page.eval("document.querySelector('.failure') === null"), (name, await page.text())


async def test_every_page_says_what_failed_and_tries_again() -> None:
    source = Scripted()
    async with shown(source) as (url, page):
        page.answers.update(FAILING)
        await page.intercept()
        for name, path, _ in all_places(source):
            await page.goto(f"{url}/explorer/{path}")
            await page.wait("document.querySelector('.failure[role=alert]')")
            text = await page.text()
            assert all(said in text for said in ("No peer is connected", "folkmoot ping ADDRESS")), name
            assert await page.eval("document.querySelector('h1').innerText") in text.splitlines()[0], name
        page.answers.clear()
        await page.eval("document.querySelector('.failure button').click()")
        await page.ready()
        await page.wait("!document.querySelector('.failure')")


async def test_a_page_that_failed_loads_itself_when_it_can() -> None:
    async with shown(Scripted()) as (url, page):
        soon = "(real => { window.setTimeout = (what, ms) => real(what, Math.min(ms, 50)) })(setTimeout)"
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=soon)
        page.answers.update(FAILING)
        await page.intercept()
        await page.goto(f"{url}/explorer/#/blocks")
        await page.wait("document.querySelector('.failure')")
        page.answers.clear()
        await page.wait("document.querySelector('#content tbody tr') && !document.querySelector('.failure')")


@pytest.mark.parametrize("path", ["blocks/4000000", f"inferences/{'00' * 32}", f"participants/{'00' * 32}", "nowhere"])
async def test_what_is_not_there_says_so_without_the_name_of_a_field_and_where_to_look(path: str) -> None:
    async with shown(Scripted()) as (url, page):
        await page.goto(f"{url}/explorer/#/{path}")
        await page.wait("document.querySelector('.failure.missing')")
        text = await page.text()
        assert "Not found" in text
        assert not any(field in text for field in ("id:", "height:"))
        assert await page.eval("document.querySelectorAll('.failure a').length > 0")


async def test_the_names_on_the_map_are_whole() -> None:
    async with shown(Scripted(), width=390) as (url, page):
        await page.goto(f"{url}/explorer/#/map")
        await page.ready()
        cut = await page.eval("""(() => {
            const of = one => one.getBoundingClientRect()
            const box = of(document.querySelector('svg.map'))
            const isIn = at => at.left >= box.left && at.right <= box.right && at.bottom <= box.bottom
            const names = [...document.querySelectorAll('svg.map text')]
            return names.filter(one => !isIn(of(one))).map(one => one.textContent)
        })()""")
        assert cut == []


async def test_a_page_that_is_loading_says_so() -> None:
    async with shown(Scripted()) as (url, page):
        page.held.append("/explorer/api/blocks")
        await page.intercept()
        await page.goto(f"{url}/explorer/#/blocks")
        await page.wait("document.querySelector('#content .loading[role=status]')")
        assert await page.eval("document.getElementById('content').getAttribute('aria-busy')") == "true"


async def test_the_draw_is_made_again_in_the_page() -> None:
    source = Scripted()
    async with shown(source) as (url, page):
        for name, one in list(source.stories.items())[:5]:  # the fifth belongs to a session
            await page.goto(f"{url}/explorer/#/inferences/{name}")
            await page.wait("document.querySelectorAll('#draw-checks li').length >= 5")
            marks = await page.eval("[...document.querySelectorAll('#draw-checks .mark')].map(m => m.ariaLabel).join()")
            assert set(marks.split(",")) == {"holds"}, await page.text("#draw-checks")
            assert one.candidates[0][:8] in await page.text()


async def test_an_answer_of_the_sprint_is_not_drawn_again() -> None:
    """Nobody drew it: its executor answered the beacon by itself."""
    source = Scripted()
    name, one = next((name, one) for name, one in source.stories.items() if one.status == "VALIDATED")
    source.stories[name] = replace(one, account="00" * 32)
    async with shown(source) as (url, page):
        await page.goto(f"{url}/explorer/#/inferences/{name}")
        await page.ready()
        assert "Nothing was drawn" in await page.text()
        assert not await page.eval("document.querySelector('#draw-checks')")
        assert not any("/draws/" in one for one in page.requests)


async def test_a_page_that_does_not_change_says_too_that_it_is_live() -> None:
    async with shown(Scripted()) as (url, page):
        await page.goto(f"{url}/explorer/#/blocks/5")
        await page.ready()
        await page.wait("document.getElementById('feed').textContent === 'live'")


async def test_blocks_come_by_themselves() -> None:
    source = Scripted(tops=3, asked=0)
    async with shown(source) as (url, page):
        await page.goto(f"{url}/explorer/#/blocks")
        await page.ready()
        await page.wait("document.getElementById('feed').textContent === 'live'")
        source.grow(2)
        await page.wait("document.querySelector('tbody td').innerText === '5'")
        assert unexpected(page) == []


async def test_only_a_page_that_is_looked_at_has_a_stream_of_events() -> None:
    """A browser has six connections to a host: with streams of six pages the seventh would stand still."""
    source, watching, changed = Scripted(tops=3, asked=0), [0], [trio.Event()]

    def counting(app: App) -> App:
        async def counted(scope: Any, receive: Any, send: Any) -> None:
            step = int(scope.get("path", "").endswith("/events"))
            watching[0] += step
            changed[0].set()
            try:
                await app(scope, receive, send)
            finally:
                watching[0] -= step
                changed[0].set()

        return counted

    async def until(count: int) -> None:
        with trio.fail_after(60):
            while watching[0] != count:
                changed[0] = trio.Event()
                await changed[0].wait()

    seen = "(state => { Object.defineProperty(document, 'visibilityState', {value: state, configurable: true}); " \
        "document.dispatchEvent(new Event('visibilitychange')) })"
    async with served(source, nothing_else, wrap=counting) as url, connected(CHROMIUM[0]) as browser:
        async with browser.page(1280, dark=False) as page:
            for height in range(1, 9):
                await page.goto(f"{url}/explorer/#/blocks/{height % 3 + 1}")
                await page.ready()
            await until(1)
            await page.goto(f"{url}/explorer/#/blocks")
            await page.ready()
            await page.eval(f"{seen}('hidden')")
            await until(0)
            source.grow(2)
            await page.eval(f"{seen}('visible')")
            await page.wait("document.querySelector('tbody td').innerText === '5'")
            await until(1)


async def test_foreign_text_is_shown_and_does_nothing() -> None:
    source = Scripted()
    async with shown(source) as (url, page):
        await page.goto(f"{url}/explorer/#/participants/{NODES[6].hex()}")
        await page.ready()
        text = await page.text()
        assert HOSTILE.split("\u202e")[0] in text
        assert "\u202e" not in text
        assert await page.eval("document.querySelectorAll('#content img').length") == 0
        name = next(name for name, one in source.stories.items() if one.status == "INVALIDATED")
        await page.goto(f"{url}/explorer/#/inferences/{name}")
        await page.ready()
        assert "<img src=x" in await page.text()
        assert unexpected(page) == []


async def test_the_policy_stops_inline_script_and_other_hosts() -> None:
    async with shown(Scripted()) as (url, page):
        await page.goto(f"{url}/explorer/")
        await page.ready()
        await page.eval("""(() => { const one = document.createElement('script'); one.textContent = 'window.bad = 1'
            document.body.append(one)
            const two = document.createElement('img'); two.src = 'http://localhost:1/x'
            document.body.append(two) })()""")
        await page.wait("true")
        assert await page.eval("window.bad") is None
        with trio.fail_after(60):
            while len([one for one in page.complaints if "Content Security Policy" in one]) < 2:
                await trio.sleep(0.02)


async def test_keys_are_enough() -> None:
    source = Scripted()
    async with shown(source) as (url, page):
        await page.goto(f"{url}/explorer/")
        await page.ready()
        await page.key("/", 191, "/")
        assert await page.eval("document.activeElement.id") == "q"
        await page.type("17")
        await page.key("Enter", 13, "\r")
        await page.wait("location.hash === '#/blocks/17'")
        await page.ready()
        await page.eval("document.activeElement.blur()")
        seen = set()
        for _ in range(40):
            await page.key("Tab", 9)
            seen.add(await page.eval("document.activeElement.innerText.slice(0, 20)"))
            visible = await page.eval("document.activeElement === document.body || "
                                      "getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            assert visible, "what has the focus is seen"
        assert {"Blocks", "Chat", "Skip to the content"} <= seen


async def test_an_id_is_copied_and_that_is_said() -> None:
    async with shown(Scripted()) as (url, page):
        await page.goto(f"{url}/explorer/#/blocks")
        await page.ready()
        await page.eval("document.querySelector('td .copy').click()")
        await page.wait("document.getElementById('live').textContent === 'Copied'")


async def test_dark_and_light_follow_the_system_until_one_is_chosen() -> None:
    async with shown(Scripted(), dark=True) as (url, page):
        await page.goto(f"{url}/explorer/")
        await page.ready()
        assert await page.eval("document.documentElement.dataset.theme") == "dark"
        await page.scheme(False)
        await page.wait("document.documentElement.dataset.theme === 'light'")
        await page.eval("document.getElementById('theme').click()")
        await page.goto(f"{url}/chat/")
        await page.wait("document.documentElement.dataset.theme === 'dark'")


# -- chat --------------------------------------------------------------------------------------------------------------


async def say(page: Page, text: str) -> None:
    await page.wait("document.body.dataset.ready && !document.getElementById('send').disabled")
    await page.eval("document.getElementById('text').focus()")
    await page.type(text)
    await page.key("Enter", 13, "\r")


async def test_a_talk_has_its_answer_its_executor_its_cost_and_stays_in_the_browser() -> None:
    axe, backend = axe_source(), saying("Hello <b>there</b>.")
    async with shown(Scripted(), backend) as (url, page):
        await page.goto(f"{url}/chat/")
        await say(page, "Who are you?")
        await page.wait("document.querySelector('.about')")
        assert await page.text(".said") == "Hello <b>there</b>."
        assert "eeeeeeee" in await page.text(".about")
        assert "cost" in await page.text(".about")
        await say(page, "And now?")
        await page.wait("document.querySelectorAll('.about').length === 2")
        assert len(backend.asked[-1].body.prompt.messages) == 3
        await page.eval("document.getElementById('new').click()")
        await say(page, "Another talk")
        await page.wait("document.querySelectorAll('#list li').length === 2 && document.querySelector('.about')")
        await page.goto(f"{url}/chat/")
        await page.wait("document.body.dataset.ready")
        assert await page.text("#list") != ""
        assert await page.eval("document.querySelectorAll('#list li').length") == 2
        assert [one for one in await findings(page, axe) if one["impact"] in SERIOUS] == []
        await page.eval("document.querySelectorAll('#list button')[2].click()")
        await page.wait("document.querySelectorAll('.turn').length === 4")
        await page.eval("document.querySelectorAll('#list button')[1].click()")
        await page.wait("document.querySelectorAll('#list li').length === 1")


async def test_an_answer_can_be_stopped() -> None:
    backend = ScriptedBackend(lambda asked: Answer("word " * 50, pause=lambda: trio.sleep_forever()))
    async with shown(Scripted(), backend) as (url, page):
        await page.goto(f"{url}/chat/")
        await say(page, "Talk on")
        await page.wait("document.querySelector('.said')?.textContent.length > 1")
        await page.eval("document.getElementById('stop').click()")
        await page.wait("document.querySelector('.broken')?.textContent.startsWith('Stopped')")
        with trio.fail_after(60):
            while not backend.left:
                await trio.sleep(0.01)
        assert backend.running == 0


async def test_what_fails_is_said_beside_the_question() -> None:
    from p2p.base.errors import Overloaded

    backend = ScriptedBackend(lambda asked: Answer(fail_first=Overloaded("all executors are busy", retry_after=3)))
    async with shown(Scripted(), backend) as (url, page):
        await page.goto(f"{url}/chat/")
        await say(page, "Anyone?")
        await page.wait("document.querySelector('.broken')")
        assert "all executors are busy" in await page.text(".broken")


async def test_a_gateway_with_keys_asks_for_one_and_takes_only_that() -> None:
    async with shown(Scripted(), saying("Yes."), Keys(["village-key-1"])) as (url, page):
        await page.goto(f"{url}/chat/")
        for key, wait in (("wrong-key-00", "document.getElementById('key')?.value === ''"),
                          ("village-key-1", "!document.getElementById('model').disabled")):
            await page.wait("document.getElementById('key')")
            await page.eval(f"document.getElementById('key').value = {key!r};"
                            " document.querySelector('#notice form').requestSubmit()")
            await page.wait(wait)
        await say(page, "Open?")
        await page.wait("document.querySelector('.about')")
        assert await page.text(".said") == "Yes."
        assert await page.eval("JSON.stringify(localStorage).includes('village-key-1')") is False


async def test_the_proof_is_downloaded_and_the_command_that_checks_it_is_shown() -> None:
    async with shown(Scripted()) as (url, page):
        await page.goto(f"{url}/chat/")
        await say(page, "Prove it")
        await page.wait("document.querySelector('.prove')")
        await page.eval("document.querySelector('.prove').click()")
        await page.wait("document.querySelector('.proof pre')")
        assert "folkmoot verify 000000000000.proof" in await page.text(".proof pre")


@pytest.mark.parametrize("balance", [0])
async def test_an_account_without_credits_is_told_how_to_get_some(balance: int) -> None:
    backend = saying("no")
    backend.balance = balance
    async with shown(Scripted(), backend, width=390) as (url, page):
        await page.goto(f"{url}/chat/")
        await page.wait("document.querySelector('#notice .warning')")
        assert "account transfer" in await page.text("#notice")


async def test_a_chat_without_a_model_says_so_and_sends_nothing() -> None:
    backend = saying("no")
    backend.cards, backend.balance = (), 0
    async with shown(Scripted(tops=0, asked=0), backend, width=390) as (url, page):
        await page.goto(f"{url}/chat/")
        await page.wait("document.querySelectorAll('#notice .warning').length === 2")
        assert "Nobody serves a model" in await page.text("#notice")
        assert await page.eval("document.getElementById('send').disabled")
        right = "Math.max(...[...document.querySelectorAll('#notice *')].map(one => one.getBoundingClientRect().right))"
        assert await page.eval(f"{right} <= innerWidth"), "a long account is broken into lines"


async def test_the_proof_of_an_answer_fits_a_narrow_window() -> None:
    async with shown(Scripted(), width=390) as (url, page):
        await page.goto(f"{url}/chat/")
        await say(page, "Prove it")
        await page.wait("document.querySelector('.prove')")
        await page.eval("document.querySelector('.prove').click()")
        await page.wait("document.querySelector('.proof pre')")
        right = "Math.max(...[...document.querySelectorAll('.about, .about p, .about pre')]" \
            ".map(one => one.getBoundingClientRect().right))"
        assert await page.eval(f"{right} <= innerWidth")
