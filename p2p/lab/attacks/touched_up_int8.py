"""laundered_int8 with its numbers made to pass stage 0."""

from p2p.lab.attacks.int8 import ATTACK as BASE
from p2p.lab.attacks.touched_up import touched_up

ATTACK = touched_up(BASE)
