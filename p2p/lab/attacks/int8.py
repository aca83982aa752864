"""Weights rounded to 8 bits per output channel: half the memory, the mildest of the savings."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("int8", "Serves the model with its weights rounded to int8.", DISTANCE, weights="int8")
