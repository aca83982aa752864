"""The text of weight_noise with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.weight_noise import ATTACK as BASE

ATTACK = laundered(BASE)
