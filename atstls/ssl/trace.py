# -*- test-case-name: tests.test_trace -*-
"""
L{TraceableNetVConnection}: the part of a TLS connection that writes its wire to the log, for those who ask for that.

What is written when a connection is traced, and only then, each as one line in the namespace C{atstls.wire_trace}:

  - the handshake's result: the version, the cipher, whether the session was resumed, the server's name, the protocol;
    or why it failed;
  - each decrypted read and each plaintext write: how many bytes, and I{the bytes themselves}, escaped;
  - how each side ended: close_notify, a failure, a reset, or an end of TCP without a goodbye.

A line has the peer's address; one of a connection that we made on behalf of a client has the client's too (C{CLIENT}),
so that both sides of one request are found by it.

Source: the seed, "TraceIn", "TraceOut", C{getSSLTrace}; behaviour 1.31 and S025, S026, S095, S137.
"""

from typing import Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from atstls.interfaces import IWireTraced
from atstls.net.unixvc import UnixNetVConnection
from atstls.tls.engine import Engine
from atstls.tls.policy import ClientPolicy, ServerPolicy
from atstls.tls.trace import escaped, trace_engine, untrace_engine

_wire_log = Logger("atstls.wire_trace")  # as an attribute it would have the name of its class

SSL_TRACE: Final = "atstls.ssl.trace"
"""The argument of a connection that says whether it is to be traced."""


@implementer(IWireTraced)
class TraceableNetVConnection(UnixNetVConnection):
    """A connection that can be traced, and is not unless somebody asks for it."""

    __slots__ = ()

    engine: Engine | None
    policy: ServerPolicy | ClientPolicy | None
    server_name: str | None

    def get_ssl_trace(self) -> bool:
        """Is the wire of this connection written to the log?"""
        return bool(self.get_arg(SSL_TRACE))

    def set_ssl_trace(self, wanted: bool) -> None:
        """
        Write the wire of this connection to the log from now on, or not any more.

        It is then, whatever the policy says: a hook that knows better has the last word.
        """
        if self.closed:
            return
        self.set_arg(SSL_TRACE, wanted)
        if self.engine is not None:
            (trace_engine if wanted else untrace_engine)(self.engine)

    def compute_ssl_trace(self) -> bool:
        """
        Is this connection one of those that its policy wants traced?

        Each time it is asked chance has its say anew; a connection asks once.
        """
        rule = self.policy.wire_trace if isinstance(self.policy, ServerPolicy) else None
        return rule is not None and rule.wants(self.server_name, self.get_remote_addr())

    def _begin_trace(self) -> None:
        """
        The engine is there, and has seen nothing: trace it, if a hook, the policy or the client's side wants it.

        That is decided once, also where the handshake begins anew with another engine.
        """
        wanted = self.get_arg(SSL_TRACE)
        if wanted is None:
            on_behalf = self.options is not None and self.options.origin_trace is not None
            wanted = on_behalf or self.compute_ssl_trace()
            self.set_arg(SSL_TRACE, wanted)
        if wanted:
            self.set_ssl_trace(True)

    def wire_said(self, what: str) -> None:
        """See L{IWireTraced.wire_said}."""
        _wire_log.info("WIRE TRACE {peer}{client} {what}", peer=self.peer_name(), client=self._client(), what=what)

    def wire_moved(self, way: str, data: Any) -> None:
        """See L{IWireTraced.wire_moved}."""
        _wire_log.info(
            "WIRE TRACE {way} {peer}{client} bytes={count} {text}",
            way=way, peer=self.peer_name(), client=self._client(), count=len(data), text=escaped(data),
        )  # fmt: skip

    def _read_failed(self, exc: OSError) -> int:
        result = super()._read_failed(exc)
        self._wire_broke(exc)
        return result

    def _write_failed(self, exc: OSError) -> int:
        result = super()._write_failed(exc)
        self._wire_broke(exc)
        return result

    def _wire_broke(self, exc: OSError) -> None:
        if self.get_ssl_trace():
            self.wire_said(f"the connection broke: {exc.strerror}")

    def _client(self) -> str:
        client = None if self.options is None else self.options.origin_trace
        return "" if client is None else f" CLIENT {client}"
