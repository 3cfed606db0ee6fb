# what Twisted calls is spelled as Twisted spells it
"""
C{twisted.test.test_tcp} and C{twisted.test.test_ssl}, over our endpoints, on the reactor that trial runs.

Those of TCP run over TLS as well.  What is left out is in L{EXEMPT}, with the reason.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import twisted
from incremental import Version
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.test import test_ssl, test_tcp
from twisted.trial.unittest import SynchronousTestCase, TestCase

from atstls.endpoints import handler_for
from atstls.net import connection
from atstls.session.protocol import NetVCTransport
from tests.conformance.glue import MOVED, WAYS, Way, move_over
from tests.conformance.test_reactor_tests import without

EXEMPT = {
    # Parts of Twisted's own TCP transports that no interface has, and TLS's do not have either.
    "test_serverRepr": "it compares repr(transport) with what twisted.internet.tcp.Server has",
    "test_logstrClientSetup": "it looks for an attribute of a client that is not connected yet",
    "test_pauseProducingInConnectionMade": "it looks for the transport among the reactor's readers",
    # What we do otherwise, and say so in docs/endpoints.rst: a protocol is made when the handshake is done.
    "testFailedVerify": "it wants both protocols to be made, although the handshake fails",
}


class Moved:
    """The reactor's own methods give what is ours, until the end of the test, which leaves nothing of ours."""

    way: Way

    def setUp(self) -> Any:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._reactor.__dict__.pop("_atstls_shared_handler", None)  # one that a failed test has left
        move_over(reactor, self.way)
        # What these tests look at in twisted.internet.tcp.Connection.
        for name, what in (("_tempDataBuffer", _unsent), ("_writeDisconnected", _ended)):
            setattr(NetVCTransport, name, property(what))
            self.addCleanup(delattr, NetVCTransport, name)  # type: ignore[attr-defined]
        return super().setUp()  # type: ignore[misc]

    @inlineCallbacks
    def tearDown(self) -> Any:
        yield maybeDeferred(super().tearDown)  # type: ignore[misc]
        reactor = self._reactor
        for name in MOVED:
            reactor.__dict__.pop(name, None)
        shared = handler_for(reactor)
        for _ in range(200):
            if not shared.in_use:
                break
            deferred: Deferred[None] = Deferred()
            reactor.callLater(0.005, deferred.callback, None)
            yield deferred
        self.assertFalse(shared.in_use, shared.handler.open_list)  # type: ignore[attr-defined]


def _unsent(transport: Any) -> list[bytes]:
    return [b"something"] if transport._unsent() else []


def _ended(transport: Any) -> bool:
    ended: bool = transport._writing.value == "ended"
    return ended


class LeavesHalfOpen:
    """A test after which the server still has half of a connection, whose client is gone."""

    def tearDown(self) -> Any:
        protocol = self.serverFactory.lastProtocol  # type: ignore[attr-defined]
        if protocol.transport.connected:
            protocol.transport.abortConnection()
        return super().tearDown()  # type: ignore[misc]


class WithNagle:
    """Tests of C{setTcpNoDelay} begin with what Twisted begins with."""

    def test_tcpNoDelay(self) -> Any:
        set_options = connection.apply_options

        def set_no_flags(sock: Any, flags: int, *more: Any, **named: Any) -> None:
            set_options(sock, 0, *more, **named)

        self.patch(connection, "apply_options", set_no_flags)  # type: ignore[attr-defined]
        return super().test_tcpNoDelay()  # type: ignore[misc]


def cases(module: Any, *ways: str) -> dict[str, type[Any]]:
    """The module's test cases, for each of C{ways}."""
    made = {}
    for name, case in list(vars(module).items()):
        if isinstance(case, type) and issubclass(case, TestCase) and case.__module__ == module.__name__:
            for way in ways:
                # A server that closes before it has shaken hands does not close in order.
                names = {*EXEMPT, "test_closePortInProtocolFactory"} if way == "Started" else EXEMPT
                bases: tuple[type[Any], ...] = (Moved, without(case, names))
                if hasattr(case, "test_tcpNoDelay"):
                    bases = (WithNagle, *bases)
                if name == "HalfCloseBuggyApplicationTests":
                    bases = (Moved, LeavesHalfOpen, *bases[1:])
                title = f"{name}Over{way}"
                attributes = {"way": WAYS[way], "__module__": __name__, "timeout": 10, "__doc__": case.__doc__}
                made[title] = type(title, bases, attributes)
    return made


TCP_CASES = cases(test_tcp, "TCP", "TLS13", "TLS12", "ContextFactories", "Started")
# Over TLS it looks at the system's handle, which is pyOpenSSL's; test_ssl has the same test for that.
for title in list(TCP_CASES):
    if title.startswith("ProperlyCloseFiles") and not title.endswith("OverTCP"):
        del TCP_CASES[title]
globals().update(TCP_CASES)
# These begin in clear and start TLS, or give their own contexts.
SSL_CASES = cases(test_ssl, "TCP")
if twisted.version < Version("Twisted", 26, 10, 0):
    SSL_CASES["ConnectionLostTestsOverTCP"].skip = "Twisted's own fault: it needs X509Req, which pyOpenSSL has dropped"
globals().update(SSL_CASES)


class OtherReactorsTests(SynchronousTestCase):
    """The same on the reactors that trial does not run now, in processes of their own."""

    def run_on(self, reactor: str) -> None:
        """Over TCP and over TLS 1.3, with nothing skipped but what an older Twisted needs."""
        names = [name for name in globals() if name.endswith(("TestsOverTCP", "TestsOverTLS13"))]
        command = [sys.executable, "-m", "twisted.trial", f"--reactor={reactor}", f"--temp-directory={self.mktemp()}"]
        root = Path(__file__).resolve().parent.parent.parent
        paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
        done = subprocess.run(
            [*command, *(f"{__name__}.{name}" for name in names)],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, r"PASSED \((skips=2, )?successes=\d\d+\)")

    def test_ours(self) -> None:
        """Our own."""
        self.run_on("atstls")

    def test_poll(self) -> None:
        """poll()."""
        self.run_on("poll")

    def test_select(self) -> None:
        """select()."""
        self.run_on("select")

    def test_asyncio(self) -> None:
        """asyncio's loop."""
        self.run_on("asyncio")
