"""The text of a hidden instruction with the numbers that the client's own prompt gives it."""

from dataclasses import replace

from p2p.lab.attacks.altered_system_prompt import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = replace(laundered(BASE), name="laundered_altered_prompt")
