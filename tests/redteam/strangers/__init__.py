"""Attacks on a network, one file each.

Law: `async def attack(target)` does harm until it is cancelled; `CHEAT`, where a file has it, names what the attacker's
own peer runs as.
"""

NAMES = (
    # signed messages with wild numbers, and messages that nobody can judge
    "signed_extremes", "far_heights", "told_again", "replays", "padded", "wrong_signatures",
    # room for bytes
    "half_open", "announced", "slow_readers", "unfinished_frames", "empty_maps", "iwant_bomb", "provider_records",
    "body_again", "streams",
    # addresses
    "invented_peers", "churn", "liar_peers",
    # the chain's scarce places
    "nonce_gaps", "squatting", "transactions_again", "forward_burst",
    # a peer of its own, in the genesis file like any other
    "withholding", "framing", "breaks_off",
)
