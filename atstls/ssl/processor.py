# -*- test-case-name: tests.test_ssl_processor -*-
"""
L{SSLNetProcessor}: who makes connections over TLS.

Source: seed, "sslNetProcessor"; behaviour 1.13 and S130 to S133; ATS C{SSLNetProcessor.cc}.
"""

from collections.abc import Callable

from atstls.interfaces import IContinuation
from atstls.net.connection import AcceptOptions, NetVCOptions, is_ip
from atstls.net.handler import NetHandler
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.net.unixvc import UnixNetVConnection
from atstls.ssl.accept import SSLNetAccept
from atstls.ssl.introduced import IntroducedSSLNetVConnection
from atstls.ssl.sslvc import NO_HOOKS, SSLNetVConnection
from atstls.tls.hooks import HookSet
from atstls.tls.policy import ClientPolicy, ServerPolicy


class SSLNetProcessor(NetProcessor):
    """
    Makes TLS connections: inwards under the policy given to L{accept}, outwards under C{client_policy} or, for one
    connection, C{options.tls}.

    @ivar client_policy: C{None}: only connections whose options have a policy of their own can be made.
    @ivar client_hooks: the hooks of outbound connections whose policy has none of its own.
    """

    def __init__(
        self,
        nh: NetHandler,
        throttle: Throttle | None = None,
        client_policy: ClientPolicy | None = None,
        client_hooks: HookSet = NO_HOOKS,
    ) -> None:
        super().__init__(nh, throttle)
        self.client_policy = client_policy
        self.client_hooks = client_hooks

    def allocate_vc(self) -> SSLNetVConnection:
        """See L{INetProcessor.allocate_vc}."""
        return SSLNetVConnection(self.nh)

    def allocate_client_vc(self, options: NetVCOptions) -> UnixNetVConnection:
        """
        See L{NetProcessor.allocate_client_vc}.

        C{options.sni_servername} is asked for, unless it is an address, and looked for in the certificate.
        """
        policy = options.tls or self.client_policy
        assert isinstance(policy, ClientPolicy), "an outbound TLS connection needs a policy"
        kind = IntroducedSSLNetVConnection if options.first_bytes else SSLNetVConnection
        vc = kind(self.nh, policy)
        vc.is_client = True
        vc.options = options
        vc.hooks = self.client_hooks if policy.hooks is None else policy.hooks
        name = options.sni_servername
        vc.server_name = None if name is None or is_ip(name) else name
        return vc

    def accept_tls(
        self,
        cont: IContinuation,
        options: AcceptOptions,
        policy: Callable[[], ServerPolicy],
        hooks: HookSet = NO_HOOKS,
    ) -> SSLNetAccept:
        """
        Listen for TLS connections.

        @param policy: asked for each connection, so that a reload is seen by the next one.
        """
        accept = SSLNetAccept(self.nh, cont, options, self.throttle, policy, hooks)
        accept.listen()
        return accept
