"""Names for containers that were given none."""

import secrets
from collections.abc import Container

_MANNERS = (
    "able", "brisk", "calm", "clear", "deft", "eager", "fair", "fleet", "gallant", "hardy", "keen",
    "lively", "lucky", "merry", "mighty", "neat", "nimble", "noble", "plucky", "proud", "quick",
    "quiet", "ready", "sharp", "sleek", "smart", "snug", "spry", "stately", "staunch", "steady",
    "stout", "sturdy", "swift", "tidy", "trim", "trusty", "vivid", "wary", "wise",
)  # fmt: skip
_CRAFT = (
    "barge", "bark", "brig", "canoe", "caravel", "carrack", "clipper", "cog", "coracle", "cutter",
    "dhow", "dinghy", "dory", "felucca", "ferry", "frigate", "galleon", "galley", "gig", "hulk",
    "junk", "kayak", "ketch", "launch", "lighter", "longboat", "lugger", "packet", "pilot", "pram",
    "punt", "raft", "sampan", "schooner", "skiff", "sloop", "smack", "tender", "tug", "wherry",
    "xebec", "yacht", "yawl",
)  # fmt: skip


def random_name(taken: Container[str]) -> str:
    """Return a free name of the form `manner_craft`, with a number once luck has run out."""
    for attempt in range(20):
        name = f"{secrets.choice(_MANNERS)}_{secrets.choice(_CRAFT)}"
        if attempt > 2:
            name += str(secrets.randbelow(10 ** (attempt - 1)))
        if name not in taken:
            return name
    return f"{secrets.choice(_MANNERS)}_{secrets.token_hex(8)}"
