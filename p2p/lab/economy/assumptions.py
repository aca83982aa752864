"""What the simulator assumes and nobody measured, or measured on one machine only. Law: every number that is not the ledger's or the table's
stands here once, and is printed with every result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.lab.economy.detection import FAKE, HONEST

# Share of the cost of honest tokens that a cheat saves. Weights of n bits instead of 16 are at most 16 / n times faster; half of that is
# reached (int8 0.4, int4 0.6). Laundering pays one honest prefill for the numbers: the table's bare prefill, 0.075 of a generation.
SAVED = {
    HONEST: 0.0, "int8": 0.4, "int4": 0.6, "smaller_model": 0.8, "laundered_int8": 0.325, "laundered_int4": 0.525,
    "laundered_smaller_model": 0.725, FAKE: 1.0,
}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """price_micro: of a token at the beginning; the ledger moves it. token_cost_micro: of computing one output token honestly; a prompt token
    costs prompt_share of it and a check of one output token check_share (the table: a whole check is 0.191 of a generation alone, 0.852 of
    one in a batch of 16). prompt_tokens: of a request. answers: lengths of answers, all as likely. use: share of the
    capacity that clients ask for at the first price. elasticity: clients ask (first price / price) ** elasticity times as much. foreign: share
    of validators whose stack is another than the executor's. plants: faults that an honest operator plants in an epoch, in answers that it asks of
    itself; the ledger's bound holds. kernel_distance_milli: what the network knows
    of honest kernels (measured: 57 to 73 between three of them, int8 weights 115 to 121). Idle machines cost nothing, which favours who is
    convicted."""

    price_micro: int = 10
    token_cost_micro: float = 6.0
    prompt_share: float = 0.1
    check_share: float = 0.2
    prompt_tokens: int = 40
    answers: tuple[int, ...] = (64, 128, 256, 512, 1000)
    use: float = 0.5
    elasticity: float = 1.0
    foreign: float = 0.33
    plants: float = 0.0
    kernel_distance_milli: int = 80
    saved: dict[str, float] = field(default_factory=lambda: dict(SAVED))

    @property
    def mean_tokens(self) -> float:
        return sum(self.answers) / len(self.answers)

    @property
    def fee_micro(self) -> float:
        """Of a mean answer at the first price."""
        return (self.mean_tokens + self.prompt_tokens) * self.price_micro

    def answer_micro(self, kind: str, tokens: int) -> float:
        """Cost of making one answer."""
        return self.token_cost_micro * (1 - self.saved[kind]) * (tokens + self.prompt_tokens * self.prompt_share)

    def check_micro(self, kind: str, tokens: int) -> float:
        """Cost of checking one, with the weights that answers of this kind are made with."""
        return self.token_cost_micro * (1 - self.saved[kind]) * self.check_share * tokens

    def table(self) -> list[tuple[str, str]]:
        """For print: (what, value)."""
        saved = ", ".join(f"{kind} {share:g}" for kind, share in self.saved.items() if share)
        return [
            ("price of a token at the beginning", f"{self.price_micro} micro-credits"),
            ("honest cost of an output token", f"{self.token_cost_micro:g} micro-credits"),
            ("honest cost of a prompt token", f"{self.prompt_share:g} of an output token"),
            ("cost of checking an output token", f"{self.check_share:g} of making it"),
            ("share of the cost that a cheat saves", saved),
            ("lengths of answers, tokens", f"{', '.join(map(str, self.answers))}, all as likely; {self.prompt_tokens} of prompt"),
            ("use of capacity at the first price", f"{self.use:.0%}; elasticity of demand {self.elasticity:g}"),
            ("validators on another stack than the executor", f"{self.foreign:.0%}"),
            ("faults planted by an honest operator in an epoch", f"{self.plants:g}, as any kernels see them (a smaller model's)"),
            ("numbers of other kernels, of int8 weights", f"73, 120 thousandths of a nat apart; the model says {self.kernel_distance_milli}"),
            ("idle machines, first purchase, electricity while idle", "nothing (favours cheats)"),
            ("honest answers flagged by one check", "what the profile promises at most (false_alarm_ppm), or the table where it is more"),
        ]
