"""The text of layer_skip with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.layer_skip import ATTACK as BASE

ATTACK = laundered(BASE)
