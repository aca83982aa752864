"""The smallest weights are zero: their products need not be computed."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("pruned", "Serves weights of which the smallest fifth in each row is zero.", DISTANCE,
                weights="pruned")
