"""The explorer's API and files, asked without a socket, over a scripted network."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.serving_limits import EXPLORER_ASKS_A_SECOND, EXPLORER_REQUESTS
from p2p.explorer.app import Beside, Explorer
from p2p.explorer.static import load_files
from tests.explorer.scripted import HOSTILE, NODES, OWNERS, PAYER, Scripted, opened
from tests.gateway.asking import Reply, ask
from tests.gateway.scripted import saying

API = "/explorer/api/"


async def read(explorer: Explorer, tops: int) -> None:
    """Wait until it has read all blocks."""
    with trio.fail_after(60):
        while (await ask(explorer, f"{API}blocks?limit=1")).json["top"] < tops:
            await trio.sleep(0.01)


async def get(explorer: Explorer, path: str, **more: Any) -> Reply:
    return await ask(explorer, API + path, **more)


@pytest.mark.parametrize("path", [
    "overview", "map", "blocks", "blocks/5", "headers/5", "inferences", "participants", "hosts", "epochs", "prices",
    "consensus", f"participants/{NODES[1].hex()}", f"accounts/{PAYER.hex()}", "search?q=5", "inferences?status=open",
    "epochs?before=2", "participants?start=3&limit=2",
])
async def test_every_path_answers_with_a_tag_that_saves_the_second_answer(path: str) -> None:
    async with opened(Scripted()) as explorer:
        await read(explorer, 60)
        first = await get(explorer, path)
        assert (first.status, first.headers["content-type"]) == (200, "application/json"), first.body
        again = await get(explorer, path, headers={"if-none-match": first.headers["etag"]})
        if path not in ("consensus", "map"):  # they count looks at peers
            assert (again.status, again.body) == (304, b"")
        assert "default-src 'none'" in first.headers["content-security-policy"]


@pytest.mark.parametrize("path", [
    "overview", "map", "blocks", "inferences", "participants", "hosts", "epochs", "prices", "consensus",
])
async def test_a_network_without_blocks_has_empty_answers(path: str) -> None:
    async with opened(Scripted(tops=0, asked=0)) as explorer:
        assert (await get(explorer, path)).status == 200


@pytest.mark.parametrize(("path", "status", "said"), [
    ("nothing", 404, "there are: "), ("blocks/5/6", 404, "there is no"), ("blocks/", 404, "there is no"),
    ("blocks/0", 400, "height 1"), ("blocks/x", 400, "whole number"), ("blocks/99", 404, "the top is 60"),
    ("blocks/99999999999999999999", 400, "whole number"), ("inferences/zz", 400, "64 hexadecimal"),
    (f"inferences/{'00' * 32}", 404, "no such inference"), (f"participants/{'00' * 32}", 404, "no participant"),
    ("blocks?limit=101", 400, "0 to 100"), ("blocks?limit=-1", 400, "whole number"), ("blocks?x=1", 400, "'x'"),
    ("blocks?limit=1&limit=2", 400, "twice"), ("blocks?limit", 400, "malformed"), ("blocks?" + "a=1&" * 40, 400, ""),
    ("inferences?status=GOOD", 400, "one of"), ("inferences?node=1", 400, "64 hexadecimal"),
    ("search?q=" + "a" * 200, 400, "at most"), ("%ff", 404, "there is no"),
])
async def test_what_is_wrong_is_refused_by_name(path: str, status: int, said: str) -> None:
    async with opened(Scripted()) as explorer:
        await read(explorer, 60)
        found = await get(explorer, path)
        assert found.status == status, found.body
        assert said in found.error["message"]


async def test_only_reading_is_possible() -> None:
    async with opened(Scripted()) as explorer:
        for method in ("POST", "PUT", "DELETE"):
            assert (await get(explorer, "blocks", method=method)).status == 405


async def test_nobody_answers_and_the_page_is_told() -> None:
    source = Scripted(is_down=True)
    async with opened(source) as explorer:
        found = await get(explorer, "overview")
        assert found.status == 503
        assert "no peer is connected" in found.error["message"]
        assert (await get(explorer, "blocks")).status == 200


async def test_a_visitor_cannot_make_peers_work_without_bound() -> None:
    source = Scripted()
    async with opened(source) as explorer:
        await read(explorer, 60)
        before, refused = len(source.asks), 0
        for number in range(400):
            refused += (await get(explorer, f"inferences/{number:064x}")).status == 429
        assert refused > 300
        assert len(source.asks) - before < 3 * EXPLORER_ASKS_A_SECOND


async def test_answers_from_memory_have_a_rate_too() -> None:
    async with opened(Scripted()) as explorer:
        await read(explorer, 60)
        found = [(await get(explorer, f"inferences?before={number}")).status for number in range(400)]
        assert found.count(429) > 300
        assert (await get(explorer, "inferences?before=0")).status == 200, "what is ready is given"


async def test_no_more_requests_at_once_than_there_is_room_for() -> None:
    source = Scripted()
    async with opened(source) as explorer:
        await read(explorer, 60)
        source.held = trio.Event()
        found: list[int] = []

        async def one(number: int) -> None:
            found.append((await get(explorer, f"blocks/{number % 30 + 1}")).status)

        async with trio.open_nursery() as nursery:
            for number in range(EXPLORER_REQUESTS + 9):
                nursery.start_soon(one, number)
            await trio.testing.wait_all_tasks_blocked()
            assert found == [429] * 9
            source.held.set()


async def test_search_finds_anything() -> None:
    source = Scripted()
    async with opened(source) as explorer:
        await read(explorer, 60)
        name = next(iter(source.stories))
        block = (await get(explorer, "blocks/7")).json["block_id"]
        for text, kind in (
            ("7", "block"), (block[:16], "block"), (name, "inference"), (name[:9].upper(), "inference"),
            (NODES[2].hex()[:12], "participant"), (OWNERS[2].hex(), "account"), (PAYER.hex(), "account"),
            (source.peers()[1], "peer"),
        ):
            kinds = [one["kind"] for one in (await get(explorer, f"search?q={text}")).json["found"]]
            assert kind in kinds, (text, kinds)
        for text in ("", "zzzz", "00" * 32, "12D3KooWnobody"):
            assert (await get(explorer, f"search?q={text}")).json["found"] == []


async def test_one_inference_has_its_story_and_its_draw() -> None:
    source = Scripted()
    async with opened(source) as explorer:
        await read(explorer, 60)
        name = next(iter(source.stories))
        story = (await get(explorer, f"inferences/{name}")).json
        assert [step["kind"] for step in story["steps"]] == ["START", "FINISH", "OUTPUT", "VERDICT"]
        assert story["times"]["3"] > 0
        draw = (await get(explorer, f"draws/{name}")).json
        assert draw["why"] == ""
        assert len(draw["serving"]) > 100


async def test_foreign_text_stays_data() -> None:
    async with opened(Scripted()) as explorer:
        await read(explorer, 60)
        found = await get(explorer, f"participants/{NODES[6].hex()}")
        assert found.json["account"]["metadata"] == HOSTILE
        assert found.headers["x-content-type-options"] == "nosniff"


async def test_events_tell_of_blocks_as_they_are_decided() -> None:
    source = Scripted(tops=3, asked=0)
    async with opened(source) as explorer:
        await read(explorer, 3)
        heard, more = trio.open_memory_channel[dict[str, Any]](100)

        async def receive() -> dict[str, Any]:
            await trio.sleep_forever()
            raise AssertionError

        scope = {"method": "GET", "path": f"{API}events", "headers": [], "query_string": b""}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(explorer, scope, receive, heard.send)
            assert (await more.receive())["status"] == 200
            source.grow()
            with trio.fail_after(60):
                async for message in more:
                    if b"event: block" in message["body"]:
                        assert b'"height":4' in message["body"]
                        assert message["body"].startswith(b"id: ")
                        break
            nursery.cancel_scope.cancel()


async def test_files_are_sent_packed_and_with_tags() -> None:
    async with opened(Scripted()) as explorer:
        plain = await ask(explorer, "/explorer/")
        assert b"<!doctype html>" in plain.body
        assert plain.headers["content-type"].startswith("text/html")
        packed = await ask(explorer, "/explorer/style.css", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        same = await ask(explorer, "/explorer/js/app.js", headers={
            "if-none-match": (await ask(explorer, "/explorer/js/app.js")).headers["etag"]})
        assert same.status == 304
        for path in ("/explorer/../app.py", "/explorer/js", "/explorer/none.js", "/explorer/js/../../app.py"):
            assert (await ask(explorer, path)).status == 404, path
        moved = await ask(explorer, "/")
        assert (moved.status, moved.headers["location"]) == (302, "/explorer/")


async def test_the_chat_page_is_there_only_beside_a_gateway() -> None:
    for chat, status in ((True, 200), (False, 404)):
        async with opened(Scripted(), chat=chat) as explorer:
            assert (await ask(explorer, "/chat/")).status == status


async def test_the_gateway_answers_beside_the_pages() -> None:
    from p2p.gateway.app import new_app

    async with opened(Scripted()) as explorer:
        both = Beside(explorer, new_app(saying("hi")))
        assert (await ask(both, "/v1/models")).json["data"]
        assert (await ask(both, "/explorer/")).status == 200
        assert (await ask(both, "/exploreral")).status == 404


def test_no_file_has_inline_script_or_style_and_nothing_comes_from_elsewhere() -> None:
    files = load_files()
    assert {"index.html", "chat.html", "style.css", "js/app.js", "js/chat.js"} <= files.keys()
    for name, file in files.items():
        text = file.body.decode()
        if name.endswith(".html"):
            assert " style=" not in text, name
            assert " onclick=" not in text, name
            assert text.count("<script") == text.count("<script type=\"module\" src=\"/"), name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in text, (name, word)
        assert "https://" not in text, name
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
