from __future__ import annotations

import re
from ipaddress import IPv4Interface
from pathlib import Path

from pinnace.contracts.netstack import BridgeSpec, RulesetSpec
from pinnace.engine.networks.rules import ruleset

GOLDEN = Path(__file__).parent / "golden"
DEFAULT = BridgeSpec("pinnace0", IPv4Interface("172.17.0.1/16"))
CLOSED = BridgeSpec("pn-closed", IPv4Interface("172.18.0.1/16"), icc=False, internal=True)


def rules_of(text: str, chain: str) -> list[str]:
    return re.findall(rf"^add rule ip \S+ {chain} (.*)$", text, re.MULTILINE)


def test_the_rules_of_two_bridges_are_as_recorded():
    text = ruleset(RulesetSpec("pinnace", (DEFAULT, CLOSED), (2375, 2376, 2375)))
    assert text == (GOLDEN / "ruleset.nft").read_text()


def test_without_bridges_the_table_goes():
    assert ruleset(RulesetSpec("pinnace", ())) == "add table ip pinnace\ndelete table ip pinnace\n"


def test_containers_are_masqueraded_only_if_asked():
    plain = BridgeSpec("b", IPv4Interface("10.0.0.1/24"), masquerade=False)
    rules = rules_of(ruleset(RulesetSpec("t", (plain,))), "postrouting")
    assert not [rule for rule in rules if rule.startswith('oifname != "b"')]


def test_maps_of_published_ports_are_not_emptied():
    text = ruleset(RulesetSpec("pinnace", (DEFAULT,)))
    assert "flush map" not in text
    assert "delete" not in text


def test_every_chain_accepts_by_policy_so_that_foreign_firewalls_decide():
    text = ruleset(RulesetSpec("pinnace", (DEFAULT, CLOSED)))
    assert "policy drop" not in text
    assert text.count("policy accept") == text.count(" hook ") == 6
