# -*- test-case-name: tests.test_edge_service -*-
"""
L{Listener}: a service that listens, and gives what comes to the routes.

Its plan can be exchanged while it listens: who connects after that meets the new one, whole; and who has connected
before goes on under the one that he met.  A connection whose hello is still to come when the plan changes is decided
upon by the new one.

Source: behaviour 6.3 (2); rows P06, P07, N090-N095.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from atstls.edge.build import ListenerPlan, Machinery, plain_policy
from atstls.edge.config import ListenConfig, NetConfig
from atstls.edge.places import RouteKind, join_port
from atstls.edge.routes import RouteAccept
from atstls.errors import ConfigurationError
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions, reapply_accept_options
from atstls.net.inherited import check_listening, systemd_descriptor
from atstls.session.nextprotocol import SSLNextProtocolAccept
from atstls.ssl.accept import SSLNetAccept
from atstls.ssl.proxied import ProxiedNetAccept, ProxyDemands
from atstls.tls.hooks import HookPoint, HookSet
from atstls.tls.policy import ServerPolicy


def accept_options(listen: ListenConfig, net: NetConfig, passed: ListenFDs | None) -> AcceptOptions:
    """
    What the listening socket should be.

    @raise ConfigurationError: it should have been opened for us, and was not.
    """
    fd = listen.fd if listen.systemd is None else systemd_descriptor(listen.systemd, passed)
    if fd is not None:
        check_listening(fd)
    return AcceptOptions(
        local_ip=listen.interface,
        local_port=listen.port or 0,
        unix_path=None if listen.unix is None else str(listen.unix),
        fd=fd,
        backlog=listen.backlog,
        additional_accepts=net.additional_accepts,
        recv_buffer_bytes=net.sock_recv_buffer_size_in,
        send_buffer_bytes=net.sock_send_buffer_size_in,
        sockopt_flags=net.sock_option_flag_in,
        packet_mark=net.sock_packet_mark_in,
        packet_tos=net.sock_packet_tos_in,
        defer_accept_seconds=net.defer_accept,
        f_inbound_transparent=listen.transparent_in,
    )


def place_key(listen: ListenConfig) -> str:
    """The key of the section that says where it listens."""
    return next((key for key in ("unix", "fd", "systemd") if getattr(listen, key) is not None), "port")


def host_words(host: Any) -> str:
    """A listening socket's address, as one writes it."""
    if isinstance(host, IPv4Address | IPv6Address):
        return join_port(host.host, host.port)
    name = host.name
    return f"unix:{os.fsdecode(name) if name else 'without a name'}"


class Listener(Service):
    """
    Listens on one place.

    @ivar accept: the open port; C{None} before and after.
    """

    _log = Logger()

    def __init__(self, plan: ListenerPlan, machinery: Machinery, net: NetConfig, passed: ListenFDs | None) -> None:
        self._plan = plan
        self.accept: NetAccept | None = None
        self.name = plan.config.name
        self._machinery = machinery
        self._net = net
        self._passed = passed
        self._plain_policy: ServerPolicy | None = None

    @property
    def plan(self) -> ListenerPlan:
        """What is done with those who come; may be exchanged at any time."""
        return self._plan

    @plan.setter
    def plan(self, plan: ListenerPlan) -> None:
        self._plan = plan
        if isinstance(self.accept, SSLNetAccept):
            self.accept.hooks = self._hooks()

    def _hooks(self) -> HookSet:
        # What the route demands is in place when others are asked, so that they can put something else there.
        return HookSet([(HookPoint.CLIENT_HELLO, self._decide), *self._plan.hooks])

    def privilegedStartService(self) -> None:  # noqa: N802
        """
        Open the port, while we may: twistd gives up its rights after this.

        @raise ConfigurationError: it cannot be opened; says where, and why.
        """
        if self.accept is None:
            self._open_with(lambda: accept_options(self.plan.config, self._net, self._passed))

    def take_over(self, fd: int) -> None:
        """
        Listen on a copy of C{fd}, the socket of another listener in the same place, with those who wait there.

        @raise ConfigurationError: the socket cannot be made as it is wanted now.
        """
        place = evolve(self.plan.config, unix=None, fd=None, systemd=None)
        options = evolve(accept_options(place, self._net, self._passed), fd=fd)

        def made() -> AcceptOptions:
            with socket.socket(fileno=os.dup(fd)) as sock:
                reapply_accept_options(sock, options)
            return options

        self._open_with(made)

    def _open_with(self, options: Callable[[], AcceptOptions]) -> None:
        config = self.plan.config
        try:
            self.accept = self._open(options())
        except CannotListenError as exc:
            self._cannot(exc.socketError)
        except (ConfigurationError, OSError) as exc:
            self._cannot(exc)
        assert self.accept is not None
        self._log.info(
            "listening on {place}: [listen {name}], {flags}, {route}",
            place=host_words(self.accept.get_host()),
            name=config.name,
            flags=", ".join(sorted(config.flags)),
            route=_route_words(self.plan.table.default.kind),
        )

    def _cannot(self, exc: object) -> None:
        config = self.plan.config
        key = place_key(config)
        where = ""
        if key == "port":
            where = f"{join_port(config.interface, config.port or 0)}: "
        elif key == "unix":
            where = f"{config.unix}: "
        reason = exc
        if isinstance(exc, OSError):
            reason = "the port is in use" if exc.errno == errno.EADDRINUSE else exc.strerror or exc
        elif key == "unix" and not isinstance(exc, ConfigurationError):
            reason = "another process listens there"  # Twisted's lock beside the socket is held.
        raise ConfigurationError(f"[listen {config.name}] {key}: {where}{reason}")

    def _open(self, options: AcceptOptions) -> NetAccept:
        route = RouteAccept(lambda: self.plan.table)
        config = self.plan.config
        flags = config.flags
        if "plain" in flags and not config.proxied:
            return self._machinery.plain.accept(route, options)
        protocols = SSLNextProtocolAccept(
            route, transparent_passthrough="tr-pass" in flags, allow_plain="allow-plain" in flags
        )
        # The one registered last is the preferred one.  Each connection is offered what its rule says, of these.
        for name in reversed(self.plan.table.default.offered):
            protocols.register_endpoint(name, route)
        if not config.proxied:
            return self._machinery.tls.accept_tls(protocols, options, self._policy, self._hooks())
        demands = ProxyDemands(config.proxy_protocol_allowlist, "pp-clnt" in flags, "plain" in flags)
        machinery = self._machinery
        accept = ProxiedNetAccept(
            machinery.handler, protocols, options, machinery.throttle, self._policy, self._hooks(), demands
        )
        accept.listen()
        return accept

    def _policy(self) -> ServerPolicy:
        policy = self._plan.table.default.policy
        if policy is None:  # without TLS, where a header may come first
            policy = self._plain_policy = self._plain_policy or plain_policy()
        return policy

    def _decide(self, vc: Any) -> Any:
        return self._plan.table.decide(vc)

    def stopService(self) -> None:  # noqa: N802
        """Close the port, at once.  Connections that came by it go on."""
        Service.stopService(self)
        accept, self.accept = self.accept, None
        if accept is not None:
            accept.cancel()


def _route_words(kind: RouteKind) -> str:
    return "the welcome page" if kind is RouteKind.WELCOME else kind.value
