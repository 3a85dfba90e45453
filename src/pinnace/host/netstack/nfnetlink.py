"""Elements of nftables maps and connection tracking, by raw nfnetlink.

Publishing a port adds one map element. As a message to the kernel that takes hundredths of a
millisecond; a run of nft would take twelve. Numbers are those of
include/uapi/linux/netfilter/{nfnetlink,nf_tables,nfnetlink_conntrack}.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from pinnace.contracts.netstack import MAP_ANY_ADDRESS, MAP_BY_ADDRESS, Published
from pinnace.host.netstack.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    Message,
    NetlinkSocket,
    attribute,
    attributes_of,
    byte,
    iterate_attributes,
    nested,
    number,
    text,
)

NETLINK_NETFILTER = 12

_ANY = IPv4Address("0.0.0.0")  # noqa: S104  a key, nothing is bound here
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {value: name for name, value in _PROTOCOLS.items()}

_BATCH_BEGIN, _BATCH_END = 16, 17
_NFTABLES, _CONNTRACK = 10, 1
_GET_TABLE, _NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 1, 12, 13, 14
_TABLE_NAME = 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEMENT, _ELEMENT_KEY, _ELEMENT_DATA, _DATA_VALUE = 1, 1, 2, 1

_CT_DELETE = 2
_CTA_TUPLE_ORIG, _CTA_FILTER, _CTA_FILTER_ORIG_FLAGS = 1, 25, 1
_CTA_TUPLE_PROTO, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 2, 1, 3
_FILTER_PROTO_NUM, _FILTER_PROTO_DST_PORT = 1 << 3, 1 << 5

# Parts of a concatenation are padded to four bytes each.
_TARGET = struct.Struct(">4sHxx")
_KEY_ANY = struct.Struct(">BxxxHxx")
_KEY_ADDRESS = struct.Struct(">4sBxxxHxx")


def has_table(netlink: NetlinkSocket, table: str) -> bool:
    """Tell whether the table exists in the socket's namespace."""
    kind = (_NFTABLES << 8) | _GET_TABLE
    body = _family(socket.AF_INET) + text(_TABLE_NAME, table)
    try:
        netlink.talk([Message(kind, 0, body, what=f"get table {table}")])
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            return False
        raise
    return True


def add_elements(netlink: NetlinkSocket, table: str, ports: Sequence[Published]) -> None:
    """Lead host ports to containers in one transaction, replacing where they led elsewhere.

    Raises:
        OSError: The kernel refused; nothing was changed. ENOENT: no such table.
    """
    failed = _transact(netlink, _element_messages(table, ports, _NEW_ELEMENT))
    if failed == errno.EBUSY or failed == errno.EEXIST:
        # A key of ours leads elsewhere: take it over, still at once.
        stale = [port for port in ports if key_of(port) in _keys(list_elements(netlink, table))]
        messages = _element_messages(table, stale, _DELETE_ELEMENT)
        failed = _transact(netlink, messages + _element_messages(table, ports, _NEW_ELEMENT))
    if failed:
        raise OSError(failed, f"publish ports: {os.strerror(failed)}")


def delete_elements(netlink: NetlinkSocket, table: str, ports: Sequence[Published]) -> None:
    """Stop leading host ports anywhere. Idempotent.

    Raises:
        OSError: The kernel refused.
    """
    failed = _transact(netlink, _element_messages(table, ports, _DELETE_ELEMENT))
    if failed == errno.ENOENT:
        # One is gone already, which refuses all: one by one, then.
        for port in ports:
            failed = _transact(netlink, _element_messages(table, [port], _DELETE_ELEMENT))
            if failed not in {0, errno.ENOENT}:
                break
    if failed not in {0, errno.ENOENT}:
        raise OSError(failed, f"unpublish ports: {os.strerror(failed)}")


def list_elements(netlink: NetlinkSocket, table: str) -> list[Published]:
    """List the published ports in the kernel; none if the table does not exist."""
    found: list[Published] = []
    for name in (MAP_BY_ADDRESS, MAP_ANY_ADDRESS):
        body = _family(socket.AF_INET) + text(_LIST_TABLE, table) + text(_LIST_SET, name)
        request = Message((_NFTABLES << 8) | _GET_ELEMENT, 0, body, what=f"list map {name}")
        try:
            answers = netlink.dump(request)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                return []
            raise
        for _, answer in answers:
            elements = attributes_of(answer[4:]).get(_LIST_ELEMENTS, b"")
            found += [_published(element) for _, element in iterate_attributes(elements)]
    return found


def forget_flows(netlink: NetlinkSocket, ports: Iterable[Published]) -> None:
    """Forget UDP flows to these host ports, so that the next packet is led anew.

    NAT is decided by a flow's first packet. A client that keeps sending would otherwise go on
    reaching whatever was behind the port before.

    Raises:
        OSError: The kernel refused.
    """
    messages: list[Message] = []
    for proto, host_port in sorted({(p.proto, p.host_port) for p in ports if p.proto == "udp"}):
        wanted = number(_CTA_FILTER_ORIG_FLAGS, _FILTER_PROTO_NUM | _FILTER_PROTO_DST_PORT)
        protocol = nested(
            _CTA_TUPLE_PROTO,
            byte(_CTA_PROTO_NUM, _PROTOCOLS[proto]),
            attribute(_CTA_PROTO_DST_PORT, struct.pack(">H", host_port)),
        )
        body = (
            _family(socket.AF_INET)
            + nested(_CTA_TUPLE_ORIG, protocol)
            + nested(_CTA_FILTER, wanted)
        )
        kind = (_CONNTRACK << 8) | _CT_DELETE
        gone = frozenset({errno.ENOENT})
        messages.append(Message(kind, 0, body, gone, f"forget flows to port {host_port}/{proto}"))
    netlink.talk(messages)


def key_of(port: Published) -> tuple[str, bytes]:
    """Name the map and the packed key of a published port."""
    protocol = _PROTOCOLS[port.proto]
    if port.host_ip == _ANY:
        return MAP_ANY_ADDRESS, _KEY_ANY.pack(protocol, port.host_port)
    return MAP_BY_ADDRESS, _KEY_ADDRESS.pack(port.host_ip.packed, protocol, port.host_port)


def _keys(ports: Iterable[Published]) -> set[tuple[str, bytes]]:
    return {key_of(port) for port in ports}


def _published(element: bytes) -> Published:
    attributes = attributes_of(element)
    key = attributes_of(attributes[_ELEMENT_KEY])[_DATA_VALUE]
    address, container_port = _TARGET.unpack(attributes_of(attributes[_ELEMENT_DATA])[_DATA_VALUE])
    if len(key) == _KEY_ANY.size:
        host_ip = _ANY
        protocol, host_port = _KEY_ANY.unpack(key)
    else:
        packed, protocol, host_port = _KEY_ADDRESS.unpack(key)
        host_ip = IPv4Address(packed)
    proto = _PROTOCOL_NAMES.get(protocol, str(protocol))
    return Published(proto, host_ip, host_port, IPv4Address(address), container_port)


def _element_messages(table: str, ports: Sequence[Published], operation: int) -> list[Message]:
    messages: list[Message] = []
    for port in ports:
        name, key = key_of(port)
        target = _TARGET.pack(port.container_ip.packed, port.container_port)
        parts = nested(_ELEMENT_KEY, attribute(_DATA_VALUE, key))
        if operation == _NEW_ELEMENT:
            parts += nested(_ELEMENT_DATA, attribute(_DATA_VALUE, target))
        body = (
            _family(socket.AF_INET)
            + text(_LIST_TABLE, table)
            + text(_LIST_SET, name)
            + nested(_LIST_ELEMENTS, nested(_LIST_ELEMENT, parts))
        )
        flags = NLM_F_ACK | (NLM_F_CREATE if operation == _NEW_ELEMENT else 0)
        messages.append(Message((_NFTABLES << 8) | operation, flags, body))
    return messages


def _transact(netlink: NetlinkSocket, messages: Sequence[Message]) -> int:
    if not messages:
        return 0
    edge = _family(socket.AF_UNSPEC, resource=_NFTABLES)
    begin, end = Message(_BATCH_BEGIN, 0, edge), Message(_BATCH_END, 0, edge)
    return netlink.batch([begin, *messages, end])


def _family(family: int, *, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)
