"""Hardware and what fits it; the way of a peer, scripted: each step waits, says why, and ends."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from p2p.base.errors import ConfigError
from p2p.base.genesis import Genesis, ModelSpec, load_genesis
from p2p.base.keys import Key
from p2p.inference.stack.fits import GIB, fit, in_words, largest
from p2p.inference.stack.hardware import Gpu, Hardware, instructions, look, read_smi
from p2p.joining.folder import Account, prepare
from p2p.joining.models import check_weights, find_model, profile_for
from p2p.joining.place import Place, cost_of, owner_elsewhere
from p2p.joining.way import CURRENT_MS, Way
from p2p.ledger.rules.ops import Body, Deposit, Register, Transfer
from p2p.wire.answers.network import EpochSumsRow, OwnSums
from testnet.generate import Plan, generate

CPU = Hardware(8, 16 * GIB, 12 * GIB, frozenset({"avx2", "avx512f"}), (), "", ("vllm", "torch"))
GPU = Hardware(8, 64 * GIB, 60 * GIB, frozenset({"avx2"}), (Gpu("H200", 140 * GIB, 100 * GIB),), "", ("vllm",))


def changed(hardware: Hardware, **change: Any) -> Hardware:
    return replace(hardware, **change)


@pytest.mark.parametrize(("weights", "hardware", "fits", "where", "words"), [
    (GIB, CPU, True, "cpu", "8 cores"), (9 * GIB, CPU, False, "cpu", "smaller model"),
    (80 * GIB, GPU, True, "gpu", "H200"), (100 * GIB, GPU, False, "gpu", "only 100.0 GiB"),
    (GIB, changed(CPU, engines=()), False, "", "folkmoot[cpu]"),
    (GIB, changed(GPU, engines=()), False, "", "folkmoot[gpu]"),
    (GIB, changed(CPU, instructions=frozenset({"sse2"})), False, "cpu", "AVX2"),
    (GIB, changed(CPU, instructions=frozenset({"avx2"})), True, "cpu", "it is slow"),
    (GIB, changed(CPU, driver="nvidia-smi does not answer"), True, "cpu", "nvidia-smi does not answer"),
])
def test_what_fits(weights: int, hardware: Hardware, fits: bool, where: str, words: str) -> None:
    found = fit(weights, hardware)
    assert (found.fits, found.where) == (fits, where)
    assert words in found.text


def test_the_largest_model_is_named() -> None:
    assert largest(changed(CPU, available=0)) == 0
    assert "no model fits" in in_words(changed(CPU, available=0))
    assert 3e9 < largest(CPU) < 5e9
    assert "H200" in in_words(GPU)
    assert fit(largest(CPU) * 2, CPU).fits, "what is named fits"
    assert fit(largest(GPU) * 2, GPU).fits


def test_what_the_machine_says_is_read() -> None:
    assert read_smi("A100, 40960, 100\nbroken\n, x, 1\n") == (Gpu("A100", 40960 << 20, 100 << 20),)
    assert instructions("processor: 0\nflags\t\t: fpu avx2\n") == {"fpu", "avx2"}
    here = look()
    assert here.memory >= here.available > 0
    assert here.cores
    assert look(Path("/nonexistent")).memory == 0


def test_a_model_is_found_by_name_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from p2p.inference.stack.model import weights_hash

    folder = tmp_path / "folkmoot" / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = ModelSpec("m", bytes(32), bytes(32), "bfloat16", 10, 1, 2048)
    with pytest.raises(ConfigError, match="safetensors"):
        find_model("m", (spec,))
    (folder / "a.safetensors").write_bytes(b"weights")
    named = ModelSpec("m", weights_hash(folder), bytes(32), "bfloat16", 10, 1, 2048)
    assert find_model("m", (named,)).weights == 7
    check_weights(find_model(str(folder), (named,)))
    other = folder.rename(folder.with_name("other"))
    assert find_model(str(other), (named,)).spec.model == "m", "by its weights"
    (other / "a.safetensors").write_bytes(b"cheaper")
    for wanted, said in ((str(other), "another hash"), ("m", "are not here"), ("x", "neither")):
        with pytest.raises(ConfigError, match=said):
            find_model(wanted, (named,))
    folder.mkdir()
    for name in ("config.json", "a.safetensors"):
        (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ConfigError, match="the network names"):
        check_weights(find_model("m", (named,)))


def test_the_profile_must_be_the_networks() -> None:
    def spec(name: str, profile: str = "") -> ModelSpec:
        return ModelSpec(name, bytes(32), bytes(32), "bfloat16", 10, 1, 2048, profile_hash=profile)

    assert profile_for(spec("unknown")) == ""
    assert "shipped" in profile_for(spec("SmolLM2-135M-Instruct"))
    with pytest.raises(ConfigError, match="install"):
        profile_for(spec("SmolLM2-135M-Instruct", "1" * 64))


# -- the way, scripted


class Script:
    """Answers status from a list, the last one again and again, and other operations from a table."""

    def __init__(self, statuses: list[dict[str, Any]], **answers: Any) -> None:
        self.statuses, self.answers = statuses, answers
        self.said: list[tuple[str, str]] = []

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] != "status":
            found = self.answers[request["op"]]
            return found(request) if callable(found) else found
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def way(self) -> Way:
        return Way(self.ask, lambda step, text: self.said.append((step, text)), lambda: 1_000_000)


def status(**change: Any) -> dict[str, Any]:
    good = {
        "connections": 2, "height": 90, "base": 41, "last_time_ms": 999_000, "state": "ready", "said": "serving m",
        "alone": "nobody answers", "addresses": ["/ip4/127.0.0.1/tcp/1/p2p/x"],
    }
    return good | change


async def test_the_way_says_what_it_waits_for(autojump_clock: Any) -> None:
    script = Script([
        status(connections=0), status(connections=0), status(), status(height=0), status(height=5, last_time_ms=0),
        status(height=50, last_time_ms=1_000_000 - CURRENT_MS), status(), status(state="loading", said="it loads"),
        status(),
    ])
    way = script.way()
    await way.connected()
    await way.in_step()
    await way.serving()
    steps = [text for _, text in script.said]
    assert steps[0] == "nobody answers"
    assert steps.count("nobody answers") == 1, "said once while nothing changes"
    assert "2 connected" in steps
    assert any("by the snapshot below block 41" in text for text in steps)
    assert steps[-2:] == ["it loads", "serving m"]


def earned(*pages: tuple[int, int, int]) -> Any:
    """Answers to the questions about epoch 1, one after the other: (fees booked, paid, height of the settlement)."""
    left = list(pages)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = dict.fromkeys(typing.get_type_hints(OwnSums), 0)
        sums: dict[str, Any] = dict.fromkeys(typing.get_type_hints(EpochSumsRow), 0)
        if request["epoch"]:
            own["fees_micro"], own["paid_micro"], sums["settled_at"] = left.pop(0) if len(left) > 1 else left[0]
        return {
            "height": 90, "epoch": request["epoch"], "first_height": 64, "last_height": 127, "node": request["node"],
            "kept": True, "inferences": [], "next": -1, "own": own, "sums": sums, "open": [],
        }

    return answer


async def test_the_first_credit_is_booked_and_then_paid(autojump_clock: Any) -> None:
    node = "1" * 64
    script = Script(
        [status(height=10), status(height=10), status(height=70)],
        earnings=earned((450, 0, 0), (450, 0, 0), (450, 382, 127)),
        verification={"participants": [{"node": node, "weight": 0}]},
    )
    assert await script.way().first_credit(node, 64) == 382
    steps = [text for _, text in script.said]
    assert "begins at height 64" in steps[0]
    assert steps[1:] == [
        "first credit: 450 micro-credits booked, to be paid when epoch 1 ends, at height 127",
        "382 micro-credits for epoch 1, at height 127",
    ]


async def test_an_epoch_that_paid_nothing_is_left(autojump_clock: Any) -> None:
    node = "1" * 64
    script = Script(
        [status(height=70), status(height=70), status(height=150)], earnings=earned((450, 0, 127), (0, 9, 150)),
        verification={"participants": [{"node": node, "weight": 7}]},
    )
    assert await script.way().first_credit(node, 64) == 9
    assert script.said[0][1].startswith("weight 7"), "what was forfeited is no credit"


# -- a place


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Genesis:
    return load_genesis(generate(Plan(tmp_path_factory.mktemp("net"), 1))[0] / "genesis.cbor")


ECONOMY = {"registration_fee_micro": 1000, "registration_bond_micro": 10_000, "collateral_min_micro": 500}


class Bank:
    """An account as a peer shows it; what is submitted changes it."""

    def __init__(self, balance: int, node: Key) -> None:
        self.balance, self.node, self.nodes, self.sent = balance, node, list[dict[str, Any]](), list[Body]()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "governance":
            return {"economy": ECONOMY}
        return {
            "account": request["account"], "balance_micro": self.balance, "next_nonce": 1, "height": 5,
            "beacon": "0" * 64, "epoch_cap_micro": 0, "request_cap_micro": 0, "hot_keys": [], "nodes": self.nodes,
            "notices": [],
        }

    async def submit(self, key: Key, body: Body, folder: Path) -> None:
        self.sent.append(body)
        if isinstance(body, Transfer):
            self.balance += body.amount_micro
        elif isinstance(body, Deposit):
            self.balance -= body.amount_micro
            self.nodes[0]["collateral_micro"] += body.amount_micro
        elif isinstance(body, Register):
            self.balance -= 11_000
            self.nodes.append({
                "node": self.node.public.hex(), "weight": 0, "models": list(body.models), "stacks": [],
                "price_floor_micro": 0, "metadata": "", "collateral_micro": 0, "bond_micro": 10_000, "leaving": 0,
                "withdrawals": [],
            })


def _account(folder: Path) -> Account:
    folder.mkdir(mode=0o700, exist_ok=True)
    Key.generate().save(folder / "account.key")
    return Account.of(folder)


async def test_an_owner_elsewhere_is_told_what_to_do_and_waited_for(
    genesis: Genesis, tmp_path: Path, autojump_clock: Any,
) -> None:
    import trio

    folder = prepare(tmp_path / "p", genesis, {"network": genesis.network}, account_elsewhere=True)
    assert folder.made == ("genesis.cbor", "config.toml", "node.key")
    said, status = list[str](), {"registered": False, "addresses": ["/ip4/1.2.3.4/tcp/5"]}

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        return {"economy": ECONOMY} if request["op"] == "governance" else status

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner_elsewhere, ask, lambda step, text: said.append(text), folder, "m", 7)
        await trio.sleep(10)
        (told,) = said
        for words in ("key consent ACCOUNT", "account register --consent WORDS --model m --price-floor 7",
                      f"account deposit 500 --node {folder.node.public.hex()} --peer /ip4/1.2.3.4/tcp/5"):
            assert f"folkmoot {words}" in told
        status["registered"] = True
    assert said[1:] == ["registered by its owner"]


async def test_a_place_is_paid_once(genesis: Genesis, tmp_path: Path) -> None:
    node, account, purse = Key.generate(), _account(tmp_path / "own"), _account(tmp_path / "purse")
    bank, said = Bank(100, node), list[str]()

    def say(step: str, text: str) -> None:
        said.append(text)

    place = Place(bank.ask, say, bank.submit, node, account, genesis, purse)
    await place.take("m", 3)
    assert [type(body) for body in bank.sent] == [Transfer, Register, Deposit]
    assert bank.balance == 0, "exactly what the place costs"
    await place.take("m", 3)
    assert len(bank.sent) == 3, "a second run pays nothing"
    assert "registered already" in said[-1]
    (tmp_path / "own" / "account.key").unlink()
    await Place(bank.ask, say, bank.submit, node, replace(account, _key=None), genesis).take("m", 3)
    assert len(bank.sent) == 3, "nor does it need the key, which may be locked"
    assert cost_of(ECONOMY).total == 11_500


async def test_without_money_it_says_how_to_pay(genesis: Genesis, tmp_path: Path, autojump_clock: Any) -> None:
    import trio

    node, account = Key.generate(), _account(tmp_path)
    bank, said = Bank(0, node), list[str]()
    place = Place(bank.ask, lambda step, text: said.append(text), bank.submit, node, account, genesis)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.take, "m", 0)
        await trio.sleep(10)
        assert bank.sent == []
        assert f"account transfer {account.public.hex()} 11500" in said[0]
        bank.balance = 11_500
    assert [type(body) for body in bank.sent] == [Register, Deposit]
