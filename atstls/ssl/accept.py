# -*- test-case-name: tests.test_ssl_processor -*-
"""
L{SSLNetAccept}: a listening socket whose connections speak TLS.

Source: seed, "SSLNetAccept"; behaviour 1.13; ATS C{SSLNetAccept.cc}.
"""

from collections.abc import Callable

from atstls.interfaces import IContinuation
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions
from atstls.net.handler import NetHandler
from atstls.net.throttle import Throttle
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.hooks import HookSet
from atstls.tls.policy import ServerPolicy


class SSLNetAccept(NetAccept):
    """
    Differs from its parent in what it makes of a socket, and in nothing else.

    @ivar hooks: of the connections that come from now on.
    """

    speaks_first = False

    def __init__(
        self,
        nh: NetHandler,
        continuation: IContinuation,
        options: AcceptOptions,
        throttle: Throttle,
        policy: Callable[[], ServerPolicy],
        hooks: HookSet,
    ) -> None:
        super().__init__(nh, self._make, continuation, options, throttle)
        self._policy = policy
        self.hooks = hooks

    def _make(self, accept: NetAccept) -> SSLNetVConnection:
        vc = SSLNetVConnection(self.nh, self._policy())
        vc.hooks = self.hooks
        return vc
