# -*- test-case-name: tests.test_introduced -*-
"""
What the next host is told of a client, by the PROXY protocol.

If we were told ourselves, by a load balancer in front of us, what it says is passed on: the addresses, and what else it
knows (TLVs), which only version 2 has room for.  Else it is what the socket says.

Source: behaviour 1.28, A093, A094; ATS C{proxy.config.http.proxy_protocol_out}.
"""

from typing import Any, Final

from atstls.net.connection import Address
from atstls.net.proxyheader import Endpoint, ProxyHeader, proxy_bytes

PROXY_OUT_NONE: Final = -1
PROXY_OUT_SAME: Final = 0
"""Besides 1 and 2: nothing; what the client's own header had, and nothing without one."""


def introduction(vc: Any, version: int) -> bytes:
    """
    The header for the host to which C{vc} goes on.

    @param version: 1, 2 or L{PROXY_OUT_SAME}.
    @return: empty where there is to be none.
    """
    told: ProxyHeader | None = vc.proxy_header
    if version == PROXY_OUT_SAME:
        if told is None:
            return b""
        version = told.version
    if told is not None and told.source is not None:
        header = ProxyHeader(version, told.source, told.destination, datagram=told.datagram, tlvs=told.tlvs)
    else:
        tlvs = () if told is None else told.tlvs
        header = ProxyHeader(version, _endpoint(vc.get_remote_addr()), _endpoint(vc.get_local_addr()), tlvs=tlvs)
    return proxy_bytes(header)


def _endpoint(address: Address | None) -> Endpoint | None:
    return address if isinstance(address, tuple) else None
