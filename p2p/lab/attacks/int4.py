"""Weights rounded to 4 bits in groups of 64: a quarter of the memory."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("int4", "Serves the model with its weights rounded to int4.", DISTANCE, weights="int4")
