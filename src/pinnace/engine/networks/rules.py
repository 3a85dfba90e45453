"""The wanted packet rules, as text for `nft -f`; pure.

One table of family `ip` per daemon. The text is one transaction: it creates what is missing,
empties the chains and writes their rules anew, and leaves the maps of published ports alone, so
that it can be applied under traffic. docs/networking.md explains the rules to people.
"""

from pinnace.contracts.netstack import (
    MAP_ANY_ADDRESS,
    MAP_BY_ADDRESS,
    BridgeSpec,
    RulesetSpec,
)

_CHAINS = {
    "guard": "type filter hook prerouting priority raw; policy accept;",
    "prerouting": "type nat hook prerouting priority dstnat; policy accept;",
    "output": "type nat hook output priority -100; policy accept;",
    "published": "",
    "input": "type filter hook input priority filter; policy accept;",
    "forward": "type filter hook forward priority filter; policy accept;",
    "postrouting": "type nat hook postrouting priority srcnat; policy accept;",
}


def ruleset(spec: RulesetSpec) -> str:
    """Write the ruleset; no bridges means that the table shall be gone."""
    table = f"ip {spec.table}"
    if not spec.bridges:
        return f"add table {table}\ndelete table {table}\n"
    chains = {
        "guard": _guard(spec),
        "published": _published(),
        "prerouting": ["fib daddr type local jump published"],
        "output": ["fib daddr type local jump published"],
        "input": _input(spec),
        "forward": _forward(spec),
        "postrouting": [rule for bridge in spec.bridges for rule in _postrouting(bridge)],
    }
    lines = [f"add table {table}", *_containers_of_elements(table, spec)]
    for name, hook in _CHAINS.items():
        lines.append(f"add chain {table} {name}" + (f" {{ {hook} }}" if hook else ""))
        lines.append(f"flush chain {table} {name}")
    lines += [
        f"add rule {table} {name} {rule}" for name, rules in chains.items() for rule in rules
    ]
    return "\n".join(lines) + "\n"


def _containers_of_elements(table: str, spec: RulesetSpec) -> list[str]:
    target = "ipv4_addr . inet_service"
    lines = [
        f"add map {table} {MAP_BY_ADDRESS} "
        f"{{ type ipv4_addr . inet_proto . inet_service : {target}; }}",
        f"add map {table} {MAP_ANY_ADDRESS} {{ type inet_proto . inet_service : {target}; }}",
        f"add set {table} api_ports {{ type inet_service; }}",
        f"flush set {table} api_ports",
    ]
    if spec.api_ports:
        ports = ", ".join(str(port) for port in sorted(set(spec.api_ports)))
        lines.append(f"add element {table} api_ports {{ {ports} }}")
    return lines


def _guard(spec: RulesetSpec) -> list[str]:
    """Drop what can only be forged, before connection tracking and NAT see it.

    Our bridges accept loopback addresses (route_localnet), so that 127.0.0.1 can be published; and
    NAT happens before the kernel's own check of such addresses. Both would let neighbours and
    containers reach services that listen on loopback (CVE-2020-8558, CVE-2021-20199).
    """
    rules = [
        'iifname != "lo" ip daddr 127.0.0.0/8 drop',
        'iifname != "lo" ip saddr 127.0.0.0/8 drop',
    ]
    for bridge in spec.bridges:
        inside = f'{{ "lo", "{bridge.name}" }}'
        rules.append(f"iifname != {inside} ip saddr {bridge.gateway.network} drop")
    return rules


def _published() -> list[str]:
    return [
        f"dnat ip to ip daddr . meta l4proto . th dport map @{MAP_BY_ADDRESS}",
        f"dnat ip to meta l4proto . th dport map @{MAP_ANY_ADDRESS}",
    ]


def _input(spec: RulesetSpec) -> list[str]:
    names = ", ".join(f'"{bridge.name}"' for bridge in spec.bridges)
    return [f"iifname {{ {names} }} tcp dport @api_ports reject with tcp reset"]


def _forward(spec: RulesetSpec) -> list[str]:
    """Let replies and published ports in, nothing else; everything may go out.

    `accept` ends only this chain: what another table drops stays dropped.
    """
    rules = ["ct state established,related accept"]
    for bridge in spec.bridges:
        name = f'"{bridge.name}"'
        if bridge.internal:
            rules.append(f"oifname {name} iifname != {name} drop")
            rules.append(f"iifname {name} oifname != {name} drop")
        if bridge.icc:
            rules.append(f"iifname {name} oifname {name} accept")
        rules.append(f"oifname {name} ct status dnat accept")
        rules.append(f"oifname {name} drop")
    return rules


def _postrouting(bridge: BridgeSpec) -> list[str]:
    """Choose the address a peer sees; peers from outside the host are never rewritten."""
    name, subnet = f'"{bridge.name}"', bridge.gateway.network
    rules = [
        # A local client of 127.0.0.1: the container could not answer to loopback.
        f"oifname {name} ip saddr 127.0.0.0/8 masquerade",
        # A container calling a published port of its own bridge: the answer must come back here.
        f"oifname {name} ip saddr {subnet} ct status dnat masquerade",
    ]
    if bridge.masquerade and not bridge.internal:
        rules.append(f"oifname != {name} ip saddr {subnet} masquerade")
    return rules
