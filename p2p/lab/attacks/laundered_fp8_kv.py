"""The text of fp8_kv with honest numbers."""

from p2p.lab.attacks.fp8_kv import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = laundered(BASE)
