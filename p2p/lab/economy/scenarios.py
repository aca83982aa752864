"""The networks that are played. Law: a table; the ledger's rules are its defaults, and `Scenario.text` names every one
that is not.

village: every strategy; an operator makes a dozen answers in an epoch, so nearly all are checked. city: few operators
with many answers each; once reputation is built, one answer in four to eight is checked, which is what patient cheats
wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2p.base.genesis import CheckRules
from p2p.lab.economy.strategies import ALL, ATTACKS, VICTIM
from p2p.lab.economy.world import Setting

AGAINST = "against "  # scenarios of one attack each
CITY = (
    "10 % int4", "laundered int8", "stranger int8", "smart stranger", "ring of smart strangers", "build, then cheat",
    "patient", "patient stranger", "lazy in 2 %",
    "deals with itself, unknown", "deals and fakes",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    setting: Setting
    seeds: int  # worlds of this setting, one a seed

    def text(self) -> str:
        """How large it is, and which rules are not the defaults, for people."""
        setting, operators = self.setting, sum(self.setting.mix.values())
        few = "" if operators + setting.clients >= 1000 else "; fewer than 1,000 agents: a check, not a result"
        rules = CheckRules()
        quick = f"; reputation grows by {gain} an epoch" if (
            gain := setting.checks.reputation_gain
        ) != rules.reputation_gain else ""
        quick += f"; at least {least} answers checked" if (
            least := setting.checks.min_checks
        ) != rules.min_checks else ""
        return (
            f"{operators} operators, {setting.clients} clients, {self.seeds} seeds, {setting.epochs} epochs, "
            f"about {setting.answers_per_node:g} answers an operator and epoch{quick}{few}"
        )


def village(*, each: int, honest: int, clients: int, epochs: int, seeds: int, answers: float = 12) -> Scenario:
    mix = {"honest": honest, **{strategy.name: each for strategy in ALL if strategy.name != "honest"}}
    return Scenario("village", Setting(mix, epochs, clients=clients, answers_per_node=answers), seeds)


def city(
    *, each: int, honest: int, clients: int, epochs: int, seeds: int, answers: float = 100, gain: int = 5
) -> Scenario:
    """gain: reputation for a clean epoch. More than the default 5 shortens the time until there is reputation to
    abuse.
    """
    mix, checks = {"honest": honest, **dict.fromkeys(CITY, each)}, CheckRules(reputation_gain=gain)
    return Scenario("city", Setting(mix, epochs, clients=clients, checks=checks, answers_per_node=answers), seeds)


def attacks(*, epochs: int, seeds: int, answers: float = 15, clients: int = 1000) -> list[Scenario]:
    """One network for each attack: two attackers, two victims, and eight bystanders as the measure for both."""
    return [
        Scenario(
            f"{AGAINST}{one.name}",
            Setting({"honest": 8, VICTIM: 2, one.name: 2}, epochs, clients=clients, answers_per_node=answers), seeds,
        )
        for one in ATTACKS
    ]


def of_size(size: str) -> list[Scenario]:
    """size: 'tiny' (a test of the whole path), 'small' (the command's default: minutes, with a faster reputation) or
    'full' (200 epochs, default rules: an hour of one core)."""
    sizes: Mapping[str, list[Scenario]] = {
        "tiny": [
            village(each=1, honest=12, clients=40, epochs=2, seeds=2, answers=3),
            city(each=1, honest=4, clients=40, epochs=2, seeds=2, answers=8),
            *attacks(epochs=2, seeds=1, answers=3, clients=40)[:2],
        ],
        "small": [
            village(each=3, honest=30, clients=1000, epochs=12, seeds=4),
            city(each=2, honest=8, clients=1000, epochs=12, seeds=4, answers=80, gain=25),
            *attacks(epochs=6, seeds=2, answers=10),
        ],
        "full": [
            village(each=2, honest=20, clients=3000, epochs=200, seeds=2),
            city(each=2, honest=6, clients=3000, epochs=200, seeds=2, answers=40),
            *attacks(epochs=12, seeds=4, answers=10),
        ],
    }
    return sizes[size]
