# -*- test-case-name: tests.test_transparent -*-
"""
Transparent ports: connections that were made to somebody else, and that the kernel gave to us.

A router's rules send them here: by C{TPROXY} or a routing table of their own, and then our side of the connection has
the very address that the client has connected to, for which the listening socket needs C{IP_TRANSPARENT}; or by
C{REDIRECT}, which changes the address and remembers what it was (C{SO_ORIGINAL_DST}).  Either way
L{original_destination} knows.  Only Linux has both.

Source: behaviour 1.11, N095, A090; Linux's C{Documentation/networking/tproxy.rst}, ip(7).
"""

import errno
import ipaddress
import socket
import struct
import sys
from typing import Any, Final

_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_SO_ORIGINAL_DST: Final = 80
"""Of C{SOL_IP} and of C{SOL_IPV6} alike; Python has no names for them (linux/in.h, in6.h, netfilter_ipv4.h)."""

LISTENING_PORT: Final = "atstls.net.listening_port"
"""The argument of a connection to a transparent port under which the number of that is kept."""

_SOCKADDR_IN = struct.Struct("=H2s4s8x")
_SOCKADDR_IN6 = struct.Struct("=H2s4x16s4x")


def make_transparent(sock: socket.socket) -> None:
    """
    Let C{sock} have addresses that are not this machine's.

    @raise OSError: the system cannot, or we may not.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.EOPNOTSUPP, "transparent ports are Linux's alone")
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        elif sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        else:
            raise OSError(errno.EOPNOTSUPP, "only a TCP port can be transparent")
    except PermissionError as exc:
        raise OSError(exc.errno, "a transparent port needs CAP_NET_ADMIN or CAP_NET_RAW") from exc


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """
    Where the peer of C{sock}, an accepted TCP connection, wanted to go.

    @raise OSError: it has gone already.
    """
    local: Any = sock.getsockname()
    mapped = sock.family == socket.AF_INET6 and local[0].startswith("::ffff:")
    try:
        if sock.family == socket.AF_INET6 and not mapped:
            _, port, host = _SOCKADDR_IN6.unpack(
                sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _SOCKADDR_IN6.size)
            )
        else:
            _, port, host = _SOCKADDR_IN.unpack(sock.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN.size))
    except OSError:
        return local[0], local[1]  # Nobody has changed it: it came as it is.
    name = str(ipaddress.ip_address(host))
    return f"::ffff:{name}" if mapped else name, int.from_bytes(port, "big")
