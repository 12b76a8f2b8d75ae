"""A machine without a network, for one process of Python.

Python imports a module of this name when it starts: the tests put its folder on the path of every
process that they start, so that kernels and commands have no network either.
"""

import errno
import socket
import sys
from typing import Any

#: Where an address stands among the arguments of what Python tells its audit hooks of.
ADDRESS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
HERE = {
    None,
    "",
    "localhost",
    "localhost.localdomain",
    "::",
    "::1",
    "0.0.0.0",
    socket.gethostname(),
}


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Say of every other machine that it cannot be reached."""
    if event not in ADDRESS:
        return
    address = arguments[ADDRESS[event]]
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = address[0] if isinstance(address, tuple) else None  # a path is of this machine
    host = address.decode() if isinstance(address, bytes) else address
    if isinstance(host, str) and host not in HERE and not host.startswith("127."):
        raise OSError(errno.ENETUNREACH, f"no test has a network: {host} was asked for")


sys.addaudithook(refuse)
