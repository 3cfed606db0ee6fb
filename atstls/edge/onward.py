# -*- test-case-name: tests.test_routes -*-
"""
L{Onward}: connections go on to another host, over TCP, over a UNIX socket, or in a new TLS connection.

The other host is dialled for each connection when it is given to us, which is when its handshake is done, and not
before.  While that lasts the client waits: it is not read from, so what it sends stays in the kernel, and that it has
left is noticed when bytes move.

A host that cannot be reached is told to the client by a reset, which nobody can take for an answer that is empty, and
to the operator by one line in the log.

Source: behaviour 1.24, 1.33; rows A022-A027, A110; ATS C{sni.yaml}.
"""

import errno
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.logger import Logger
from zope.interface import implementer

from atstls.edge.original import ORIGINAL_DESTINATION, client_options, original_address
from atstls.edge.places import join_port
from atstls.edge.proxyout import PROXY_OUT_NONE, introduction
from atstls.edge.tunnels import tally_tunnel
from atstls.edge.variables import NoAddress, VariableAddress
from atstls.events import (
    EVENT_DONE,
    NET_EVENT_OPEN,
    NET_EVENT_OPEN_FAILED,
)
from atstls.interfaces import IAction, IContinuation
from atstls.net.connection import Address, NetVCOptions
from atstls.net.processor import NetProcessor
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, UnixNetVConnection
from atstls.session.tunnel import HALF_CLOSE_SECONDS, TwoWayTunnel
from atstls.tls.policy import ClientPolicy

LED_BACK_SECONDS: Final = 60.0
"""For how long a route that has led back to where it starts from is suspected of that."""

HTTP2: Final = b"h2"


def address_words(address: Address | VariableAddress) -> str:
    """C{address} as it is written in the configuration."""
    if isinstance(address, VariableAddress):
        return str(address)
    if address is ORIGINAL_DESTINATION:
        return address[0]
    return f"unix:{address}" if isinstance(address, str) else join_port(*address)


@implementer(IContinuation)
@frozen(eq=False)
class Onward:
    """
    Takes connections and joins each with one to another host.

    @ivar where: the section and the key that say so, for the log.
    @ivar processor: makes the other connection.
    @ivar address: of the other host; its name is resolved anew each time.
    @ivar options: for the other connection.
    @ivar proxy_out: the version of the PROXY protocol in which the other host is told of the client, as in
        L{atstls.edge.proxyout}.
    @ivar as_client: the other host sees the client's address in the place of ours.
    @ivar blind: nobody here looks at the bytes, and a connection without TLS may be spliced by the kernel.
    """

    where: str
    processor: NetProcessor
    address: Address | VariableAddress
    options: NetVCOptions
    connect_seconds: float = 30
    half_close_seconds: float = HALF_CLOSE_SECONDS
    blind: bool = False
    proxy_out: int = PROXY_OUT_NONE
    as_client: bool = False
    _led_back: list[float] = field(factory=list, init=False)

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_ACCEPT, with a connection whose handshake is done."""
        if self._led_back and self._comes_from_here(data):
            data.do_io_close(errno.ELOOP)
            return EVENT_DONE
        if self.blind:
            data.attributes = TRANSPORT_BLIND_TUNNEL
        _Dial(self, data)
        return EVENT_DONE

    def address_for(self, vc: Any) -> Address:
        """
        Where C{vc} goes.

        @raise NoAddress: nowhere.
        """
        address = self.address
        if isinstance(address, VariableAddress):
            return address.of(vc)
        if address is ORIGINAL_DESTINATION:
            found = original_address(vc)
            if found is None:
                raise NoAddress("it meant no other place than this port")
            return found
        return address

    def options_for(self, vc: Any) -> NetVCOptions:
        """What the connection should be that is made for C{vc}."""
        options = self.options
        if self.proxy_out != PROXY_OUT_NONE:
            options = evolve(options, first_bytes=introduction(vc, self.proxy_out))
        if self.as_client:
            options = client_options(vc, options)
        return options

    def objection(self, vc: Any, origin: Any) -> str | None:
        """
        Why C{vc} must not be joined with C{origin}, or C{None}.

        The loader refuses routes to the very listener that they start from; a name that leads there shows only now.
        """
        if self.address is ORIGINAL_DESTINATION:
            return None  # See address_for().
        remote = origin.get_remote_addr()
        if isinstance(remote, tuple) and remote[1] not in self.processor.nh.ports and not vc.is_transparent:
            return None  # No port of ours: spared asking the system for the address.
        local = vc.get_local_addr()
        if local and local == remote:
            self._led_back[:] = [self.processor.nh.seconds()]
            return "that is where the connection came in"
        return None

    def _comes_from_here(self, vc: Any) -> bool:
        """
        Is C{vc}, since this route was seen to lead back, probably what was dialled then?

        To a port without TLS it is another connection that goes on, and to dial for it would make the next, and so on.
        """
        if self.processor.nh.seconds() - self._led_back[0] > LED_BACK_SECONDS:
            self._led_back.clear()
            return False
        local, remote = vc.get_local_addr(), vc.get_remote_addr()
        if self.as_client or not isinstance(local, tuple) or not isinstance(remote, tuple):
            return True
        return bool(local[0] == remote[0])


@frozen(eq=False)
class OnwardTLS(Onward):
    """
    The same with TLS on the other side too: what our client asked for is asked of the other host.

    @ivar policies: what is demanded of the other host, by the protocol that was agreed upon with our client: that one
        alone is offered, since both sides have to speak the same.  C{None}: none was.
    @ivar name: the name to ask for, and to find in the certificate, for a client that has sent none.
    """

    policies: Mapping[bytes | None, ClientPolicy] = field(factory=dict)
    name: str | None = None

    def options_for(self, vc: Any) -> NetVCOptions:
        """See L{Onward.options_for}."""
        protocol = getattr(vc, "negotiated_protocol", None)
        policy = self.policies.get(protocol) or self.policies[None]
        asked_for = getattr(vc, "server_name", None)
        origin_trace = vc.peer_name() if vc.get_ssl_trace() else None
        options = super().options_for(vc)
        return evolve(options, sni_servername=asked_for or self.name, origin_trace=origin_trace, tls=policy)

    def objection(self, vc: Any, origin: Any) -> str | None:
        """See L{Onward.objection}."""
        if getattr(vc, "negotiated_protocol", None) == HTTP2 and origin.negotiated_protocol != HTTP2:
            # HTTP/2 is never spoken unasked inside TLS (RFC 9113, section 3.2); other protocols may be known by port.
            return "it does not speak h2, and the client was promised that"
        return super().objection(vc, origin)


@implementer(IContinuation)
class _Dial:
    """One connection that waits for the other one.  The user of both until they are joined."""

    __slots__ = ("_action", "_onward", "_vc")

    _log = Logger()

    def __init__(self, onward: Onward, vc: UnixNetVConnection) -> None:
        self._onward = onward
        self._vc = vc
        self._action: IAction | None = None
        # No bytes are wanted yet; timeouts are.
        vc.do_io_read(self, 0, None)
        try:
            address = onward.address_for(vc)
        except NoAddress as exc:
            self._give_up(str(exc), errno.EPROTO)
            return
        self._action = onward.processor.connect_s(self, address, onward.connect_seconds, onward.options_for(vc))

    def handle_event(self, event: int, data: Any) -> int:
        """The other connection is there, or cannot be had; or the client's time is up."""
        if event == NET_EVENT_OPEN:
            self._join(data)
        elif event == NET_EVENT_OPEN_FAILED:
            self._give_up(str(data), data.lerrno)
        else:
            if self._action is not None:
                self._action.cancel()
            self._vc.do_io_close(self._vc.lerrno or errno.ETIMEDOUT)
        return EVENT_DONE

    def _join(self, origin: UnixNetVConnection) -> None:
        vc, onward = self._vc, self._onward
        if vc.closed:
            origin.do_io_close()
            return
        objection = onward.objection(vc, origin)
        if objection is not None:
            origin.do_io_close()
            self._give_up(objection, errno.EPROTO)
            return
        tally_tunnel(vc, origin)
        TwoWayTunnel(vc, origin, half_close_seconds=onward.half_close_seconds)

    def _give_up(self, reason: str, lerrno: int) -> None:
        onward = self._onward
        self._log.warn(
            "{where}: {target} cannot be used for {peer}: {reason}",
            where=onward.where, target=address_words(onward.address), peer=self._vc.peer_name(), reason=reason,
        )  # fmt: skip
        self._vc.do_io_close(lerrno)
