"""One layer of the middle is left out: the mildest of the smaller models."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("layer_skip", "Serves the model without one layer of its middle.", DISTANCE, weights="layer_skip")
