"""Weights rounded to 6 bits in groups of 64."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("int6", "Serves the model with its weights rounded to int6.", DISTANCE, weights="int6")
