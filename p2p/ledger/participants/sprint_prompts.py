"""The questions of the sprint. Law: they follow from a constant table and one hash; a changed word is a fork, as peers
would make other texts.

Sixteen words of 256 are 128 bits: no two questions of any sprint are the same, and nobody can have answered one before
its beacon.
"""

from __future__ import annotations

from p2p.base.keys import digest

DRAWN = 16  # words of one question
_TABLE = (
    "acorn actor album alley anchor angle ankle apple apron arch arrow atlas attic autumn award badge baker bamboo "
    "banana banner barrel basket beach beacon bean bear bell bench berry bird blanket boat bone book boot bottle "
    "bowl branch brass bread brick bridge brook brush bucket butter button cabin cable camel camera camp canal "
    "candle canvas captain carpet castle cattle cave cedar chain chair chalk cherry circle circus clay cliff clock "
    "cloud clover coal coast coat coin comet compass copper coral corn cotton cousin cradle crane crown crystal cup "
    "curtain dance dawn deer desert diamond dinner doctor dolphin donkey door dragon drum duck dust eagle earth echo "
    "edge egg elbow elm engine falcon family farm father feather fence fern ferry field finger fire fish flag flame "
    "flood flour flute fog forest fork fossil fox frost fruit garden garlic gate ghost giant ginger glass glove goat "
    "gold goose grain grape grass guitar hammer harbor harvest hat hawk hazel helmet hill honey horse hotel house "
    "ice ink iron island ivory jacket jar jewel journey judge jungle kettle key king kitchen kite knife ladder lake "
    "lamp lantern leaf lemon letter library lily lion lizard lock log lumber magnet maple marble market mask meadow "
    "melon mill mirror mist moon moss mother mountain mouse museum needle nest night oak oar ocean olive onion "
    "orange orchard otter oven owl paddle paint palace paper parade parrot path peach pearl pebble pencil pepper "
    "piano pillow pilot pine pipe planet plate plow plum pocket pony pottery prince pumpkin puppet puzzle quilt "
    "rabbit rain raven ribbon river"
)
WORDS = tuple(_TABLE.split())
assert len(set(WORDS)) == len(WORDS) == 256


def sprint_prompt(beacon: bytes, node: bytes, model: str, index: int) -> str:
    """Question number `index` of `node` in the sprint that `beacon` began. It asks for a story, because a story ends
    late.
    """
    raw = digest(b"sprint-prompt", beacon, node, model.encode(), index.to_bytes(8, "big"))
    return f"Write a long story in which all of these occur: {', '.join(WORDS[byte] for byte in raw[:DRAWN])}."
