"""The rotary embedding's base is another one: a context extended without retraining, or a wrong configuration."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack("rope_theta", "Serves the right weights with nine tenths of the rotary base.", DISTANCE,
                weights="rope_theta")
