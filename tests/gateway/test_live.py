"""The gateway over a live network: real peers in real processes, unmodified SDKs, SIMULATED engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from p2p.client.answer_proof import parse_proof
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import launch, stop
from testnet.state_file import alive, read_state
from tests.explorer.browser import connected, running
from tests.net_lab import Net, until
from tests.tools.abuse import deeds
from tests.tools.abuse.lies import wrong_types
from tests.tools.abuse.overload import overload
from tests.tools.abuse.scene import Scene

openai = pytest.importorskip("openai", reason="the SDK openai is not installed")
anthropic = pytest.importorskip("anthropic", reason="the SDK anthropic is not installed")
pytestmark = pytest.mark.network
CONTEXT = 1 << 15
RUNNING, MADE = "vllm:num_requests_running{}", "vllm:generation_tokens_total{}"
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    found = Net(
        tmp_path_factory.mktemp("gateway") / "net", context_tokens=CONTEXT, shared_flags=["--context", str(CONTEXT)]
    )
    yield found
    found.close()


@pytest.fixture(scope="module")
def url(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "gateway.log"
    argv = [sys.executable, "-m", "p2p", "gateway", "--json", "--dir", str(net.directory / "client"), "--listen",
            "127.0.0.1:0", *(word for at in range(4) for word in ("--peer", net.address(at)))]
    launch("gateway", argv, log, net.directory)
    try:
        def said() -> str:
            assert alive(read_state(net.directory)["processes"]["gateway"]), log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return next((str(line["url"]) for line in lines if line.get("event") == "listening"), "")

        yield str(until(said, 60))
    finally:
        stop(net.directory, ["gateway"])


def test_a_chat_is_answered_and_settled(net: Net, url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    raw = client.chat.completions.with_raw_response.create(
        model=DEFAULT_MODEL, messages=ASKED, max_tokens=12, seed=7, temperature=1,
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    found = net.final(raw.headers["x-folkmoot-inference"])
    assert found["output_tokens"] == 12
    shown = httpx.get(f"{url}/v1/folkmoot/inferences/{raw.headers['x-folkmoot-inference']}").json()
    assert shown["status"] == found["status"]
    again = client.chat.completions.create(model=DEFAULT_MODEL, messages=ASKED, max_tokens=12, seed=7, temperature=1)
    assert again.choices[0].message.content == answer.choices[0].message.content, "the same seed, the same answer"


def test_a_stream_is_the_same_text_in_pieces_with_usage_in_the_end(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    asked = {"model": DEFAULT_MODEL, "messages": ASKED, "max_tokens": 20, "seed": 3, "logprobs": True,
             "top_logprobs": 3}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 20
    rows = [row for chunk in chunks if chunk.choices and chunk.choices[0].logprobs
            for row in chunk.choices[0].logprobs.content]
    assert [row.logprob for row in rows] == [row.logprob for row in whole.choices[0].logprobs.content]


def test_what_clients_do_to_it_is_answered_and_does_no_harm(net: Net, url: str) -> None:
    """The short form of `make gateway-abuse`; the long one waits for limits, and overloads for minutes."""
    async def abuse() -> None:
        async with httpx.AsyncClient() as http:
            scene = Scene(net, url, "none", http)
            await scene.after()
            scene.rss_at_first = scene.rss()
            for deed in (
                partial(deeds.idle, count=200), deeds.large_head, deeds.large_body, deeds.wrong_text, deeds.framing,
                deeds.pipelined, partial(wrong_types, values=({},)), partial(overload, seconds=3.0, most_rate=20.0),
            ):
                print(await deed(scene), await scene.after())

    trio.run(abuse)


def test_a_stop_string_ends_the_answer_and_is_not_shown(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    asked = {"model": DEFAULT_MODEL, "prompt": "hello", "max_tokens": 40, "seed": 5}
    text = client.completions.create(**asked).choices[0].text
    stop = text[10:12]
    found = client.completions.create(**asked, stop=[stop]).choices[0]
    assert found.text == text[: text.index(stop)]
    assert found.finish_reason == "stop"


def test_a_client_that_leaves_ends_its_answer_in_the_engine_too(net: Net, url: str) -> None:
    """Streamed or whole: an answer of minutes ends within a second or so, and what was made of it is booked."""
    asked = {"model": DEFAULT_MODEL, "messages": ASKED, "max_tokens": CONTEXT - 1000, "ignore_eos": True}
    most = CONTEXT // 4  # tokens of each; it is far less, also where everything is slow
    before = load(net)[MADE]
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=asked | {"stream": True}, timeout=60) as answer:
        assert answer.status_code == 200
        name = answer.headers["x-folkmoot-inference"]
        next(line for line in answer.iter_lines() if '"content":"' in line)
    found = net.final(name)
    assert found["finish_reason"] == "stopped", found
    assert 0 < found["output_tokens"] < most
    until(lambda: load(net)[RUNNING] == 0)
    streamed = load(net)[MADE] - before
    print("streamed, then left: booked", found["output_tokens"], "made", streamed, "of", asked["max_tokens"])
    assert found["output_tokens"] <= streamed < most
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=httpx.Timeout(60, read=1.5))
    until(lambda: load(net)[RUNNING] == 0)
    whole = load(net)[MADE] - before - streamed
    print("whole, left after 1.5 s: made", whole)
    assert whole < most


def load(net: Net) -> dict[str, float]:
    """What the engine says of itself."""
    page = httpx.get(next(iter(net.urls.values())) + "/metrics").text
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in page.splitlines())}


def test_an_answer_bound_to_a_schema_is_valid(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}},
              "required": ["n", "ok"], "additionalProperties": False}
    found = client.chat.completions.create(
        model=DEFAULT_MODEL, messages=ASKED, max_tokens=60, seed=11,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
    ).choices[0]
    assert found.finish_reason == "stop"
    assert set(json.loads(found.message.content)) == {"n", "ok"}


def test_a_proof_of_the_answer_is_kept_for_whoever_may_ask(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    raw = client.chat.completions.with_raw_response.create(model=DEFAULT_MODEL, messages=ASKED, max_tokens=6)
    name = raw.headers["x-folkmoot-inference"]
    found = httpx.get(f"{url}/v1/folkmoot/inferences/{name}/proof")
    proof = parse_proof(found.content)
    assert proof.signed_request.inference_id.hex() == name
    assert proof.text == raw.parse().choices[0].message.content
    assert httpx.get(f"{url}/v1/folkmoot/inferences/{'00' * 32}/proof").status_code == 404


def test_the_explorer_beside_it_tells_an_answers_whole_story_and_a_browser_draws_again(net: Net, url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    raw = client.chat.completions.with_raw_response.create(model=DEFAULT_MODEL, messages=ASKED, max_tokens=12)
    name = raw.headers["x-folkmoot-inference"]
    ended = net.final(name)

    def story() -> Any:
        answer = httpx.get(f"{url}/explorer/api/inferences/{name}")
        found = answer.json() if answer.status_code == 200 else None
        return found if found and found["inference"]["status"] == ended["status"] and found["steps"] else None

    found = until(story)
    assert {"START", "FINISH"} <= {step["kind"] for step in found["steps"]}
    rows = {row["node"]: row for row in httpx.get(f"{url}/explorer/api/hosts").json()["hosts"]}
    assert rows[ended["executor"]]["timed"]["answers"] >= 1
    assert sum(row["looks"] > 0 for row in rows.values()) >= 1
    with running() as devtools:
        trio.run(_look, devtools, f"{url}/explorer/#/inferences/{name}")


async def _look(devtools: str, url: str) -> None:
    async with connected(devtools) as browser, browser.page() as page:
        await page.goto(url)
        await page.wait("[...document.querySelectorAll('#draw-checks b')].some(one => one.textContent === 'Draw')")
        await page.wait("[...document.querySelectorAll('#draw-checks .mark')].every(one => one.ariaLabel === 'holds')")
        await page.wait("document.body.innerText.includes('hashes to the root on chain')")
        # a header that is not decided yet is asked for again, and the browser notes each 404
        assert [one for one in page.complaints if "/headers/" not in one or "404" not in one] == []


def test_messages_and_responses_answer_too(url: str) -> None:
    claude = anthropic.Anthropic(base_url=url, api_key="none")
    said = claude.messages.create(model=DEFAULT_MODEL, max_tokens=8, system="brief", messages=ASKED[1:])
    assert said.content[0].text
    assert said.stop_reason == "max_tokens"
    assert claude.messages.count_tokens(model=DEFAULT_MODEL, messages=ASKED[1:]).input_tokens == 1 + len("hello")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    first = client.responses.create(model=DEFAULT_MODEL, input="hello", max_output_tokens=8)
    assert first.output_text
    then = client.responses.create(
        model=DEFAULT_MODEL, input="and then?", max_output_tokens=8, previous_response_id=first.id,
    )
    assert then.usage.input_tokens > first.usage.input_tokens


def test_what_cannot_be_is_refused_by_name(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=ASKED)
    assert unknown.value.body["param"] == "model"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=DEFAULT_MODEL, messages=[{"role": "user", "content": "x" * 70_000}])
    assert "context" in str(long.value)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
    with pytest.raises(openai.BadRequestError) as seen:
        client.chat.completions.create(model=DEFAULT_MODEL, messages=image)
    assert seen.value.body["param"].startswith("messages[0].content[0]")
