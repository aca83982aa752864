"""The simulator's assumptions: what nobody measured, or only on one machine. Law: every number that comes neither from
the ledger nor from the verification table stands here once, and is printed with every result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.lab.economy.detection import FAKE, HONEST, SMART

# Share of an honest token's cost that a cheat saves. Weights of n bits instead of 16 are at most 16 / n times faster,
# in practice half of that
# (int8 0.4, int4 0.6). Laundered answers cost one honest prefill more, for the numbers: the table's bare prefill, 0.075
# of a generation.
# Smart drafts: half, less the passes of the right model (evasion.json).
SAVED = {
    HONEST: 0.0, "int8": 0.4, "int4": 0.6, "smaller_model": 0.8, "laundered_int8": 0.325, "laundered_int4": 0.525,
    "laundered_smaller_model": 0.725, FAKE: 1.0, SMART: 0.42,
}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Prices, costs and demand. Idle machines cost nothing, which favours a convicted operator."""

    price_micro: int = 10  # of a token in the first block; then the ledger moves it
    token_cost_micro: float = 6.0  # of computing one output token honestly
    prompt_share: float = 0.1  # cost of a prompt token, as a share of an output token's
    # Cost of checking an output token, as a share of making it. The table: a whole check costs 0.191 of a generation
    # alone, 0.852 of one in a
    # batch of 16.
    check_share: float = 0.2
    prompt_tokens: int = 40  # of a request
    answers: tuple[int, ...] = (64, 128, 256, 512, 1000)  # lengths in tokens, all equally likely
    use: float = 0.5  # share of the capacity that clients ask for at the first price
    elasticity: float = 1.0  # clients ask for (first price / price) ** elasticity times as much
    foreign: float = 0.33  # share of validators on another stack than the executor's
    # faults that an honest operator plants in an epoch, in answers to itself, as far as the ledger allows
    plants: float = 0.0
    # that the model's spec states; measured: 57 to 73 between honest kernels, 115 to 121 to int8 weights
    kernel_distance_milli: int = 80
    # kind of answer -> share of the honest cost saved
    saved: dict[str, float] = field(default_factory=lambda: dict(SAVED))

    @property
    def mean_tokens(self) -> float:
        return sum(self.answers) / len(self.answers)

    @property
    def fee_micro(self) -> float:
        """The fee of an answer of mean length at the first price."""
        return (self.mean_tokens + self.prompt_tokens) * self.price_micro

    def answer_micro(self, kind: str, tokens: int) -> float:
        """Cost of making one answer of `tokens` output tokens. kind: a key of `saved`."""
        return self.token_cost_micro * (1 - self.saved[kind]) * (tokens + self.prompt_tokens * self.prompt_share)

    def check_micro(self, kind: str, tokens: int) -> float:
        """Cost of checking one answer with the weights that answers of this kind are made with."""
        return self.token_cost_micro * (1 - self.saved[kind]) * self.check_share * tokens

    def table(self) -> list[tuple[str, str]]:
        """(what is assumed, its value), for people."""
        saved = ", ".join(f"{kind} {share:g}" for kind, share in self.saved.items() if share)
        return [
            ("price of a token at the beginning", f"{self.price_micro} micro-credits"),
            ("honest cost of an output token", f"{self.token_cost_micro:g} micro-credits"),
            ("honest cost of a prompt token", f"{self.prompt_share:g} of an output token"),
            ("cost of checking an output token", f"{self.check_share:g} of making it"),
            ("share of the cost that a cheat saves", saved),
            (
                "lengths of answers, tokens",
                f"{', '.join(map(str, self.answers))}, all equally likely; a prompt has {self.prompt_tokens}"
            ),
            ("use of capacity at the first price", f"{self.use:.0%}; elasticity of demand {self.elasticity:g}"),
            ("validators on another stack than the executor", f"{self.foreign:.0%}"),
            (
                "faults planted by an honest operator in an epoch",
                f"{self.plants:g}, which any kernels see (a smaller model's)"
            ),
            (
                "numbers of other kernels, of int8 weights",
                f"73, 120 thousandths of a nat apart; the model says {self.kernel_distance_milli}",
            ),
            ("idle machines, first purchase, electricity while idle", "nothing (favours cheats)"),
            (
                "honest answers flagged by one check",
                "the most that the profile allows (false_alarm_ppm), or the table's rate where that is more",
            ),
        ]
