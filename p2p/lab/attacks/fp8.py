"""Weights rounded to float8_e4m3, one scale per output channel."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("fp8", "Serves the model with its weights rounded to fp8.", DISTANCE, weights="fp8")
