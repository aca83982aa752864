"""Weights with a change of rank 8: an adapter (LoRA) that the client did not ask for."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("low_rank", "Serves weights with a change of rank 8 merged in.", DISTANCE, weights="low_rank")
