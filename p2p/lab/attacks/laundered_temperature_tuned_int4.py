"""The text of temperature_tuned_int4 with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.temperature_tuned_int4 import ATTACK as BASE

ATTACK = laundered(BASE)
