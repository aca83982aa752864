"""Weights with a little noise: what a merge, an adapter or a badly converted file looks like."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("weight_noise", "Serves weights with noise of a hundredth of their size.", DISTANCE,
                weights="weight_noise")
