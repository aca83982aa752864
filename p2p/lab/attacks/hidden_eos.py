"""As suppressed_eos, but leaves the end token out of the published candidates, so that stage 0 does not see it win.

One position lies (the end's log-probability is missing) and what follows is honest: the worst case for any mean.
"""

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.suppressed_eos import EndMasked


class EndHidden(EndMasked):
    hide = True


ATTACK = Attack(
    "hidden_eos", "Masks end-of-sequence, continues to the limit, and does not publish that the end was a candidate.",
    REPLAY,
    needs="an answer that ends before max_tokens", wrap=EndHidden,
)
