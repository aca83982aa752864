"""Weights rounded to 5 bits in groups, between int4 and int6."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("int5", "Serves the model with its weights rounded to int5.", DISTANCE, weights="int5")
