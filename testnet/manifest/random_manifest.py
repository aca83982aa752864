"""Draws a small manifest by chance: `folkmoot testnet generate --seed N`.

Law: pure; one seed gives one text for ever, and every text that it gives is a valid manifest.
"""

from __future__ import annotations

import random

from testnet.manifest.kinds import KINDS, Needs

VILLAINS = ("wrong_seed", "fabricated_logprobs", "int8", "lazy_validator")
QUIET_S = 12.0  # at the beginning, and between a perturbation's end and the next
END_S = 20.0  # after the last one


def draw(seed: int, *, links: bool = False) -> str:
    """TOML text. links: kinds that need addresses of their own may be drawn too (root)."""
    rng = random.Random(seed)
    hosts, validators, villain = rng.randint(2, 3), rng.randint(2, 3), rng.random() < 0.4
    peers = [f"validator{i + 1}" for i in range(validators)] + [f"host{i + 1}" for i in range(hosts)]
    done, at_s = [], QUIET_S
    for _ in range(rng.randint(1, 3)):
        text, for_s = _perturbation(rng, at_s, peers, _kinds(links))
        done.append(text)
        at_s += for_s + QUIET_S
    bootstrap = rng.random() < 0.5
    lines = [
        f'name = "random-{seed}"', f'about = "Drawn with seed {seed}."', f"seed = {seed}",
        f"seconds = {at_s + END_S:.0f}", "", "[network]", "validation_window = 20", "reveal_window = 8",
        "appeal_window = 5", f"epoch_blocks = {rng.choice((80, 120, 200))}", "",
    ]
    if bootstrap:
        lines += _group("boot", "bootstrap", 1)
    lines += _group("validator", "validator", validators, 'engine = "simulated"')
    lines += _group("host", "host", hosts, 'engine = "simulated"')
    if villain:
        lines += _group("villain", "host", 1, 'engine = "simulated"', f'villain = "{rng.choice(VILLAINS)}"')
    lines += _group("client", "client", 1)
    lines += ["[load]", f"rate = {rng.choice((0.5, 1.0, 1.5))}", f"max_tokens = {rng.choice((4, 8, 16))}", ""]
    return "\n".join([*lines, *done, "[checks]", "answered_percent = 50", ""])


def _group(name: str, role: str, count: int, *more: str) -> list[str]:
    return ["[[peers]]", f'name = "{name}"', f'role = "{role}"', f"count = {count}", *more, ""]


def _kinds(links: bool) -> list[str]:
    """Those that need no more than this machine's processes give, and that a network of four survives."""
    allowed = Needs.LINKS if links else Needs.NOTHING
    left_out = ("join", "upgrade", "bootstrap-gone", "engine-kill", "overload")
    return [name for name, kind in KINDS.items() if kind.needs in (Needs.NOTHING, allowed) and name not in left_out]


def _perturbation(rng: random.Random, at_s: float, peers: list[str], kinds: list[str]) -> tuple[str, float]:
    """(its table, how long it lasts). At most one peer of four or five suffers: the others are a quorum."""
    name = rng.choice(kinds)
    kind = KINDS[name]
    for_s = float(rng.randint(3, 12)) if kind.lasts else 0.0
    lines = ["[[perturbations]]", f"at_s = {at_s:g}", f'kind = "{name}"']
    if kind.whom != "nobody":
        lines.append(f'peers = ["{rng.choice(peers)}"]')
    if kind.lasts:
        lines.append(f"for_s = {for_s:g}")
    more = {
        "slow-link": [f"latency_ms = {rng.choice((50, 150, 300))}"],
        "loss": [f"loss_percent = {rng.choice((5, 15, 30))}"],
    }
    return "\n".join([*lines, *more.get(name, []), ""]), for_s
