"""A model without a third of its layers."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("smaller_model", "Serves a model without a third of its layers.", DISTANCE, weights="smaller_model")
