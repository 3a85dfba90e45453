"""Tells systemd how the daemon fares (sd_notify(3)): one datagram, no library."""

import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as `READY=1`, if systemd asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sender.sendall(state.encode())
