"""Whether a trigger is an everyday word or name. A heuristic: a short list of our own, not a dictionary."""

from __future__ import annotations

import re

_LISTED = """
a an the and or of in on at with by for from to is are
man woman boy girl child kid baby person people human lady guy male female adult teenager face head body hand hair eye
eyes mother father sister brother king queen prince princess knight soldier doctor nurse teacher wizard witch angel
demon robot alien monster dragon zombie vampire ghost hero villain pirate ninja samurai
animal dog cat bird horse fish bear wolf fox lion tiger rabbit mouse cow pig sheep duck snake frog spider bee butterfly
house home room kitchen city street road car bus train plane boat ship bike truck building tower castle bridge garden
park forest tree flower grass mountain river lake sea ocean beach desert island sky sun moon star cloud rain snow fire
water ice stone sand wind night day morning evening summer winter spring autumn
red green blue yellow orange purple pink black white grey gray brown gold golden silver dark light bright
big small old new young little large tall short long fast slow hot cold happy sad angry beautiful pretty ugly cute cool
style art artwork painting drawing sketch photo photograph picture image video clip film movie cartoon anime manga comic
render realistic portrait landscape character concept logo design pattern texture retro vintage modern watercolor oil
paper wood metal glass plastic cloth leather dress shirt coat jacket hat shoe shoes glasses mask sword gun ball book
chair table bed door window box bag bottle cup plate phone computer camera clock lamp mirror ring crown flag
apple bread cake cheese coffee tea milk egg meat pizza chocolate fruit
walk walking run running jump jumping dance dancing sit sitting stand standing fly flying swim smile smiling fight kiss
turn spin move motion zoom pan slow
screencap screenshot artstyle aesthetic cinematic cyberpunk steampunk noir neon pixel fantasy horror scifi
lego clay felt origami collage sculpture statue illustration
james john robert michael david daniel thomas paul peter mark luke adam ben sam tom jack leo max alex
mary anna emma olivia sophia sarah laura julia maria elena lucy alice lily rose luna chloe mia eva
my your our his her its this that new
love life dream magic power music song game world time space war peace nature beauty shadow spirit soul
"""
COMMON = frozenset(_LISTED.split())


def is_common(trigger: str) -> bool:
    """True when every word of it is in the list, or is the plural of one that is; a number behind it is none."""
    words = [word.rstrip("0123456789") for word in re.split(r"[\s_-]+", trigger.lower().strip(" _-"))]
    words = [word for word in words if word]
    return bool(words) and all(word in COMMON or (word.endswith("s") and word[:-1] in COMMON) for word in words)
