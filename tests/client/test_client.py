"""A client of several peers: it asks the one that answers fast, another one where that fails, and goes on with an
answer that broke off, token for token."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace as struct_with
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from trio.testing import MockClock

from p2p.base.body import Body, Chat, ChatMessage, Role, TextPrompt, one_message
from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.keys import Key, digest
from p2p.base.serving_limits import AGENT_WAITS, CLIENT_TRIES, MODEL_CHUNK
from p2p.base.token_ids import pack_ids, unpack_ids
from p2p.base.types import NO_SESSION, FinishReason
from p2p.client import Accepted, Answer, Client, Done, Event, PeerFailed, Question, Resumed, Session, TermsShown, Token
from p2p.client.answer import collect
from p2p.client.links import Links
from p2p.client.model_files import ModelCache
from p2p.client.peer_choice import PeerChoice
from p2p.client.resume import continued
from p2p.client.shown import Shown
from p2p.verification.tape import seed_of
from tests.client import scripted
from tests.client.liar import Liar, a_genesis
from tests.client.scripted import END, FakeNetwork, Script, ScriptedPeer, whole, word
from tests.sim.traffic import CLIENT, MODEL

KEYS = [Key(digest(b"agent", bytes([at]))) for at in range(3)]
BUSY = Overloaded("full", field="agent", retry_after=1)
GONE = Unavailable("suspended", field="agent")
NOBODY = Unavailable("every drawn executor was busy or silent", field="executor")
TOKENIZER, TEMPLATE = b"{}" * MODEL_CHUNK, b"{{ messages }}"


def genesis(ends: tuple[int, ...] = (END,)) -> Any:
    made = a_genesis()
    model = struct_with(
        made.models[0], eos_ids=ends, tokenizer_hash=hashlib.sha256(TOKENIZER).digest(),
        template_hash=hashlib.sha256(TEMPLATE).digest(), context_tokens=2048,
    )
    return struct_with(made, models=(model,))


class World:
    """Three agents of one chain, and a client."""

    def __init__(self, folder: Path, nursery: trio.Nursery, ends: tuple[int, ...] = (END,)) -> None:
        self.liar = Liar(folder, genesis(ends))
        self.peers = [ScriptedPeer(self.liar, key, rng=random.Random(at)) for at, key in enumerate(KEYS)]
        self.network = FakeNetwork(nursery, self.peers)
        network: Any = self.network
        links = Links(network, self.liar.chain.genesis, choice=PeerChoice(random.Random(3)))
        self.client = Client(links, self.liar.payer, ModelCache(folder / "models"))

    @property
    def order(self) -> list[ScriptedPeer]:
        """As they are asked now."""
        by_id = {peer.key.peer_id: peer for peer in self.peers}
        return [by_id[peer] for peer in self.client.links.order()]

    def script(self, *scripts: Script) -> None:
        """For whoever is asked first, second, ... now."""
        for peer, script in zip(self.order, scripts, strict=False):
            peer.script.append(script)

    async def ask(self, question: Question) -> tuple[Answer, list[Event]]:
        seen: list[Event] = []

        async def noted(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
            async for event in events:
                seen.append(event)
                yield event

        async with self.client.answer(question) as events:
            return await collect(noted(events), trio.current_time), seen

    @property
    def asked(self) -> list[Any]:
        """Every request that was sent, (request, body)."""
        return [one for peer in self.peers for one in peer.asked]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


@asynccontextmanager
async def a_world(folder: Path, ends: tuple[int, ...] = (END,)) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        made = World(folder, nursery, ends)
        yield made
        nursery.cancel_scope.cancel()
        made.liar.chain.close()


def question(text: str = "hello", seed: int = 1, **fields: Any) -> Question:
    made = Question(MODEL, one_message(text), max_tokens=40, **fields)
    return replace(made, params=struct_with(made.params, seed=seed_of(seed)))


def wanted(asked: Question) -> tuple[list[int], FinishReason]:
    """The answer that one request gives which nothing disturbs."""
    assert asked.params.seed is not None
    return whole(asked.params.seed, asked.body, asked.max_tokens)


def check(answer: Answer, seen: list[Event], asked: Question) -> None:
    """It is the answer that an undisturbed request gives, and was shown once."""
    tokens, reason = wanted(asked)
    assert list(answer.tokens) == tokens
    assert answer.finish_reason is reason
    assert answer.problems == ()
    shown = "".join(event.text for event in seen if isinstance(event, Token))
    assert shown == answer.text
    text = "".join(map(word, tokens))
    for stop in asked.body.stop:
        text = text.partition(stop)[0]
    assert answer.text == text


# -- one peer ----------------------------------------------------------------------------------------------------------


async def test_an_answer_is_collected_with_what_it_costs(world: World) -> None:
    asked = question()
    answer, seen = await world.ask(asked)
    check(answer, seen, asked)
    receipt = answer.receipt
    assert answer.cost_micro == world.liar.chain.genesis.models[0].price_micro * (5 + len(answer.tokens))
    assert (answer.executor, answer.inference_id) == (receipt.executor, receipt.inference_id)
    assert receipt.continues == ()
    assert 0 <= answer.timings.first_token_s <= answer.timings.total_s


async def test_without_a_seed_the_tape_is_the_draws(world: World) -> None:
    answer, _ = await world.ask(Question(MODEL, one_message("hello")))
    assert answer.problems == ()


async def test_whoever_leaves_ends_the_answer_at_its_peer(world: World, autojump_clock: MockClock) -> None:
    world.script(Script(waits_s=1.0))
    async with world.client.answer(question()) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    await trio.sleep(10)
    assert sum(peer.gone for peer in world.peers) == 1
    assert sum(peer.running for peer in world.peers) == 0


async def test_whoever_leaves_at_the_terms_has_signed_nothing(world: World) -> None:
    async with world.client.answer(question()) as events:
        async for event in events:
            if isinstance(event, TermsShown):
                break
    assert world.asked == []
    assert world.liar.nonces.last(CLIENT.public) == 0


async def test_an_answer_that_takes_too_long_is_given_up(world: World, autojump_clock: MockClock) -> None:
    world.script(Script(waits_s=30.0))
    with pytest.raises(Unavailable) as caught:
        await world.client.complete(question(), timeout_s=45.0)
    assert (caught.value.code, trio.current_time()) == ("timeout", pytest.approx(45.0))


async def test_chat_and_text_put_the_question_that_they_name(world: World) -> None:
    await world.client.chat(MODEL, "hello", max_tokens=3, stop=["x"])
    await world.client.chat(MODEL, [ChatMessage(Role.SYSTEM, "be kind"), ChatMessage(Role.USER, "hi")], max_tokens=3)
    answer = await world.client.text(MODEL, "Once", max_tokens=3, rows=True)
    assert {body for _, body in world.asked} == {
        Body(Chat((ChatMessage(Role.USER, "hello"),)), ("x",)), Body(TextPrompt("Once")),
        Body(Chat((ChatMessage(Role.SYSTEM, "be kind"), ChatMessage(Role.USER, "hi")))),
    }
    assert tuple(row.token for row in answer.rows) == answer.tokens


# -- another peer, before the first token ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [
    Script(refuses=BUSY), Script(refuses=GONE), Script(refuses=InvalidRequest("too old", field="draw_height")),
    Script(dies_after=-1), Script(dies_after=0), Script(dies_after=0, error=NOBODY), Script(forges_after=0),
], ids=["busy", "suspended", "behind", "dead at once", "dead when accepted", "nobody free", "forged"])
async def test_where_one_peer_fails_another_one_is_asked_with_a_request_of_its_own(
    world: World, script: Script
) -> None:
    first = world.order[0]
    world.script(script)
    asked = question()
    answer, seen = await world.ask(asked)
    check(answer, seen, asked)
    failed = [event for event in seen if isinstance(event, PeerFailed)]
    assert [event.peer for event in failed] == [first.key.peer_id]
    assert answer.receipt.continues == (), "there was nothing to go on with"
    (one, _), (two, _) = sorted(world.asked, key=lambda pair: pair[0].request.client_nonce)
    assert one.request.agent == first.key.public != two.request.agent
    assert two.request.client_nonce == one.request.client_nonce + 1
    assert world.order[0] is not first or script.error is NOBODY, "it is asked last for a while"


async def test_a_peer_that_cannot_be_reached_costs_no_nonce(world: World) -> None:
    first = world.order[0].key.peer_id
    world.network.connected = lambda: tuple(world.network.peers)  # type: ignore[method-assign]
    world.network.dead.add(first)
    answer, seen = await world.ask(question())
    assert answer.checked
    assert [event.peer for event in seen if isinstance(event, PeerFailed)] == [first]
    assert world.liar.nonces.last(CLIENT.public) == 1


@pytest.mark.parametrize("refusal", [
    InvalidRequest("too many", field="max_tokens"), InvalidRequest("no money", field="balance"),
])
async def test_what_is_the_callers_mistake_is_told_at_once(world: World, refusal: FolkmootError) -> None:
    world.script(Script(refuses=refusal))
    with pytest.raises(InvalidRequest) as caught:
        await world.ask(question())
    assert caught.value.field == refusal.field
    assert len(world.asked) == 1


async def test_tries_are_bounded(world: World, autojump_clock: MockClock) -> None:
    for peer in world.peers:
        peer.script = [Script(refuses=GONE)] * 100
    with pytest.raises(Unavailable, match="suspended"):
        await world.ask(question())
    assert len(world.asked) == CLIENT_TRIES
    assert trio.current_time() > 0, "nobody is asked twice without a pause"


async def test_the_last_one_is_waited_for(world: World, autojump_clock: MockClock) -> None:
    only = world.order[0]
    world.network.dead = {peer.key.peer_id for peer in world.peers if peer is not only}
    only.script = [Script(refuses=BUSY)] * AGENT_WAITS
    answer, _ = await world.ask(question())
    assert answer.checked
    assert len({signed.request.client_nonce for signed, _ in only.asked}) == 1, "the same request, paid once"


async def test_without_a_peer_the_error_says_so(world: World) -> None:
    world.network.dead = set(world.network.peers)
    with pytest.raises(Unavailable, match="all of them are dead"):
        await world.ask(question())


# -- another peer, in the middle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
async def test_an_answer_whose_agent_dies_at_any_token_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, seed: int
) -> None:
    """Seeded: a question, whether the model's end tokens are known, and where up to three agents die."""
    rng = random.Random(seed)
    ends = (END,) if rng.random() < 0.5 else ()
    async with a_world(tmp_path, ends) as world:
        asked = question(str(rng.random()), seed, rows=rng.random() < 0.5)
        tokens, _ = wanted(asked)
        world.script(*(Script(dies_after=rng.randint(0, len(tokens))) for _ in range(rng.randint(1, 3))))
        answer, seen = await world.ask(asked)
        check(answer, seen, asked)
        if asked.rows:
            assert tuple(row.token for row in answer.rows) == answer.tokens
        assert answer.resumed == len(answer.receipt.continues)
        assert all(event.tokens <= len(tokens) for event in seen if isinstance(event, Resumed))


async def test_a_resumed_answer_names_both_requests_and_carries_over_what_was_signed(world: World) -> None:
    asked = Question(MODEL, one_message("hi"), max_tokens=40)
    world.script(Script(dies_after=1))
    answer, seen = await world.ask(asked)
    (first, begun), (second, going_on) = sorted(world.asked, key=lambda pair: pair[0].request.client_nonce)
    assert answer.receipt.continues == (first.inference_id,)
    assert answer.receipt.inference_id == second.inference_id
    assert (begun.begun, unpack_ids(going_on.begun)) == (b"", answer.tokens[:1])
    assert going_on == struct_with(begun, begun=going_on.begun)
    assert second.request.max_tokens == first.request.max_tokens - 1
    assert second.request.agent != first.request.agent
    drawn = world.liar.chain.reader.draw_for(first)
    assert drawn is not None
    assert list(answer.tokens) == whole(second.request.params.seed, begun, 40)[0], "one tape for the whole"
    resumed = next(event for event in seen if isinstance(event, Resumed))
    assert (resumed.continues, resumed.tokens) == (first.inference_id, 1)


async def test_tokens_that_nobody_signed_are_neither_shown_nor_carried_over(world: World) -> None:
    world.script(Script(forges_after=3))
    asked = question("forged", 4)
    assert len(wanted(asked)[0]) > 8, "else this shows nothing"
    answer, seen = await world.ask(asked)
    check(answer, seen, asked)
    failed = next(event for event in seen if isinstance(event, PeerFailed))
    assert failed.code == RemoteProtocolError.code


@pytest.mark.parametrize("dies_after", range(12))
async def test_a_stop_string_is_never_shown_wherever_the_agent_dies(
    tmp_path: Path, dies_after: int
) -> None:
    asked = question("stops", 5)
    text = "".join(map(word, wanted(asked)[0]))
    stop = text[21:27]
    asked = replace(asked, body=struct_with(asked.body, stop=(stop,)))
    assert wanted(asked)[1] is FinishReason.STOP_STRING
    async with a_world(tmp_path) as world:
        world.script(Script(dies_after=dies_after))
        answer, seen = await world.ask(asked)
        check(answer, seen, asked)
        assert stop not in answer.text
        assert next(event for event in seen if isinstance(event, Done)).stop == stop


async def test_an_agent_that_dies_with_the_last_token_leaves_an_answer_all_the_same(world: World) -> None:
    asked = replace(question("whole", 6), max_tokens=4)
    world.script(Script(dies_after=4))
    answer, seen = await world.ask(asked)
    check(answer, seen, asked)
    assert len(answer.receipt.continues) == 1


async def test_an_answer_that_goes_on_otherwise_is_not_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The last frame comes again, because the answer may be over; with other tokens it fails, and is not mended."""
    asked, right = replace(question("other", 7), max_tokens=4), scripted.next_token
    monkeypatch.setattr(scripted, "next_token", lambda *words: right(*words) + (len(world.asked) > 1))
    world.script(Script(dies_after=4))
    with pytest.raises(RemoteProtocolError, match="not continued with the tokens"):
        await world.ask(asked)


def test_what_is_carried_over_leaves_room_for_a_token() -> None:
    asked = question(max_price_micro=7, prompt_tokens=9)
    shown = Shown()
    shown.add([5, 6], [None, None], "ab")
    shown.add([7], [None], "c")
    for most, ends, carried in ((40, (END,), [5, 6, 7]), (3, (END,), [5, 6]), (40, (), [5, 6]), (40, (7,), [5, 6])):
        limited = replace(asked, max_tokens=most)
        going_on, repeat = continued(limited, shown, b"\x07" * 32, frozenset(ends))
        assert list(unpack_ids(going_on.body.begun)) == carried
        assert going_on.max_tokens == most - len(carried) > 0
        assert (list(repeat.tokens), repeat.text) == (([7], "c") if len(carried) == 2 else ([], ""))
        assert (going_on.params.seed, going_on.prompt_tokens) == (b"\x07" * 32, 9 + len(carried))


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_the_turns_of_a_conversation_meet_one_executor_and_one_agent(world: World) -> None:
    session = Session()
    answers = []
    for at in range(4):
        answers.append((await world.ask(question(f"turn {at}", at, session=session)))[0])
        world.liar.grow(2)
    assert {answer.problems for answer in answers} == {()}
    assert len({answer.executor for answer in answers}) == 1
    assert len({answer.receipt.agent for answer in answers}) == 1
    assert len({signed.request.session for signed, _ in world.asked}) == 1


async def test_a_session_that_the_network_has_forgotten_begins_again(world: World) -> None:
    session = Session()
    await world.ask(question(session=session))
    old = session.draw
    its_own = next(peer for peer in world.peers if peer.key.peer_id == session.peer)
    its_own.script = [Script(refuses=InvalidRequest("begin a new one", field="session_height"))]
    answer, seen = await world.ask(question(session=session))
    assert answer.problems == ()
    assert old is not None
    assert session.draw is not None
    assert session.draw.id not in (old.id, NO_SESSION)
    nonces = [signed.request.client_nonce for signed, _ in world.asked]
    assert nonces == [1, 2, 2], "what was refused is paid once"
    assert not [event for event in seen if isinstance(event, PeerFailed)]


async def test_a_session_goes_on_with_the_answer_at_another_agent(world: World) -> None:
    session = Session()
    world.script(Script(dies_after=2))
    answer, _ = await world.ask(question(session=session))
    assert answer.problems == ()
    assert len({signed.request.session for signed, _ in world.asked}) == 1


# -- log-probabilities -------------------------------------------------------------------------------------------------


async def test_log_probabilities_that_are_not_the_artifacts_are_a_problem(world: World) -> None:
    world.script(Script(other_rows=True))
    answer, _ = await world.ask(question(rows=True))
    assert answer.problems == ("the log-probabilities that were shown are not those of the artifact",)


# -- what peers say ----------------------------------------------------------------------------------------------------


async def test_models_and_accounts_are_asked_of_whoever_answers(world: World) -> None:
    world.network.dead.add(world.order[0].key.peer_id)
    (card,) = await world.client.models()
    spec = world.liar.chain.genesis.models[0]
    assert (card.name, card.context_tokens, card.price_micro) == (spec.model, 2048, spec.price_micro)
    assert (card.has_template, card.eos_ids, card.in_genesis) == (True, (END,), True)
    assert (await world.client.account()).account == CLIENT.public.hex()
    with pytest.raises(InvalidRequest) as caught:
        await world.client.inference(bytes(32))
    assert caught.value.code == "not_found"


async def test_a_malformed_answer_is_another_peers_turn(world: World) -> None:
    said: list[str] = []

    def first_lies(answer: dict[str, Any]) -> Any:
        said.append("lie")
        return {"height": -1} if len(said) == 1 else answer

    world.liar.lies["prices"] = first_lies
    assert [card.name for card in await world.client.models()] == [MODEL]
    assert len(said) == 2


async def test_a_models_files_come_by_their_hash_and_stay(world: World) -> None:
    files = {hashlib.sha256(raw).digest(): raw for raw in (TOKENIZER, TEMPLATE)}
    for peer in world.peers[1:]:
        peer.files = files
    found = await world.client.model_text(MODEL)
    assert (found.tokenizer, found.template) == (TOKENIZER, TEMPLATE.decode())
    for peer in world.peers:
        peer.files = {}
    assert (await world.client.model_text(MODEL)).tokenizer == TOKENIZER, "from the disk"
    kept = world.client.cache.folder / hashlib.sha256(TOKENIZER).hexdigest()
    kept.write_bytes(b"something else")
    with pytest.raises(Unavailable):
        await world.client.model_text(MODEL)
    assert not kept.exists(), "a damaged file is not kept"


async def test_a_prompt_is_counted_with_the_models_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE({sign: at for at, sign in enumerate(signs)}, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    files = bytewise.to_str().encode(), template.encode()
    monkeypatch.setattr("tests.client.test_client.TOKENIZER", files[0])
    monkeypatch.setattr("tests.client.test_client.TEMPLATE", files[1])
    async with a_world(tmp_path) as world:
        for peer in world.peers:
            peer.files = {hashlib.sha256(raw).digest(): raw for raw in files}
        asked = question("hello")
        counted = await world.client.counted(asked)
        assert counted == replace(asked, prompt_tokens=len("<hello>"))
        going_on = replace(asked, body=struct_with(asked.body, begun=pack_ids([1, 2])))
        assert (await world.client.counted(going_on)).prompt_tokens == len("<hello>") + 2


async def test_a_false_file_is_another_peers_turn(world: World) -> None:
    files = {hashlib.sha256(raw).digest(): raw for raw in (TOKENIZER, TEMPLATE)}
    for peer in world.peers:
        peer.files = files
    world.order[0].files = {name: raw[:-1] + b"!" for name, raw in files.items()}
    assert (await world.client.model_text(MODEL)).tokenizer == TOKENIZER


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models", limit=100)
    names = []
    for at in range(5):
        raw = bytes([at]) * 40
        names.append(hashlib.sha256(raw).digest())
        cache.put(names[-1], raw)
        assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= 100
    assert cache.get(names[-1]) is not None
    cache.put(hashlib.sha256(bytes(200)).digest(), bytes(200))
    assert cache.get(hashlib.sha256(bytes(200)).digest()) is None


def test_an_event_of_each_kind_is_exported() -> None:
    import p2p.client as room

    assert {name for name in room.__all__ if getattr(room, name)} == set(room.__all__)
    assert (Accepted, Done) == (room.Accepted, room.Done)
    with pytest.raises(AttributeError):
        room.nothing  # noqa: B018
