# -*- test-case-name: tests.test_variables -*-
"""
L{VariableAddress}: the next host of a connection, where a part of it is known only when the connection has come.

C{$1} is what stands in the place of the star in the rule's name: C{tunnel_route = $1.internal:443} in
C{[sni *.example.com]} leads C{www.example.com} to C{www.internal}.  C{{inbound_local_port}} is the port that the
client has come to, C{{proxy_protocol_port}} the one that a load balancer says that he meant.  A port that somebody else
chooses could be any, so it has to be among C{connect_ports}; and what is put together of a name must not be a number
that the system would take for an address.

Source: rows A004, A024, A104; ATS C{sni.yaml}, C{proxy.config.http.connect_ports}.
"""

import socket
from typing import Any, Final

from attrs import frozen

from atstls.edge.loops import is_here
from atstls.edge.places import PORT_VARIABLES, host_of
from atstls.errors import AtsTlsError
from atstls.net.connection import Address, is_ip

LABEL: Final = "$1"


class NoAddress(AtsTlsError):
    """A connection has nowhere to go; C{str()} says why."""


@frozen
class VariableAddress:
    """
    Where connections of one rule go.

    @ivar host: with L{LABEL} in it or without.
    @ivar port: a number; or one of L{PORT_VARIABLES<atstls.edge.places.PORT_VARIABLES>}.
    @ivar allowed: the ports to which a variable one may lead, both ends of each range included.
    """

    host: str
    port: int | str
    allowed: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def of(self, vc: Any) -> Address:
        """
        Where C{vc} goes.

        @raise NoAddress: nowhere.
        """
        host = self._host(vc)
        if isinstance(self.port, int):
            return host, self.port
        local = vc.get_local_addr()
        if self.port == PORT_VARIABLES[0]:
            came = local
        else:
            header = vc.proxy_header
            came = None if header is None else header.destination
        if not isinstance(came, tuple):
            raise NoAddress(f"there is no {self.port} for it")
        port = came[1]
        if not any(first <= port <= last for first, last in self.allowed):
            raise NoAddress(f"port {port} is not in connect_ports")
        if came == local and is_ip(host) and is_here(host):
            raise NoAddress("that is where the connection came in")
        return host, port

    def _host(self, vc: Any) -> str:
        if LABEL not in self.host:
            return self.host
        label = (vc.server_name or "").partition(".")[0]
        try:
            host = host_of(self.host.replace(LABEL, label))
        except ValueError as exc:
            raise NoAddress(f"it asks for a name of which no host can be made: {exc}") from None
        try:
            socket.inet_aton(host)
        except OSError:
            return host
        raise NoAddress(f"it asks for a name of which an address would be made: {host}")
