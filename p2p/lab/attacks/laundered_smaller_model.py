"""The text of smaller_model with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.smaller_model import ATTACK as BASE

ATTACK = laundered(BASE)
