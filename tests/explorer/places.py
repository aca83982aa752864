"""Which pages there are, for tests and screenshots. Law: one list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WIDTHS = (1280, 390)
SCHEMES = (False, True)  # light, dark


@dataclass(frozen=True, slots=True)
class Place:
    """One page. shows: a condition that holds when it has all that it loads by itself."""

    name: str
    path: str
    shows: str = "true"


def inference_place(inference: str) -> Place:
    """The page of one inference, with its draw re-computed."""
    drawn = "[...document.querySelectorAll('#draw-checks b')].some(one => one.textContent === 'Draw')"
    found = "!document.body.innerText.includes('Looking for')"
    return Place("inference", f"#/inferences/{inference}", f"{drawn} && {found}")


def places(inference: str, node: str, account: str, *, block: int = 5, search: str = "8") -> tuple[Place, ...]:
    """All pages of the explorer, with the things of this network that some of them are about."""
    return (
        Place("overview", "#/"), Place("blocks", "#/blocks"), Place("block", f"#/blocks/{block}"),
        Place("inferences", "#/inferences"),
        inference_place(inference),
        Place("participants", "#/participants"), Place("participant", f"#/participants/{node}"),
        Place("account", f"#/accounts/{account}"), Place("hosts", "#/hosts"), Place("epochs", "#/epochs"),
        Place("prices", "#/prices"), Place("consensus", "#/consensus"), Place("map", "#/map"),
        Place("search", f"#/search?q={search}"),
    )


FAILED = b'{"error":{"message":"no peer is connected: nobody answers at the addresses that are known"}}'
FAILING: Mapping[str, tuple[int, bytes]] = {"/explorer/api/": (503, FAILED), "/v1/": (503, FAILED)}
