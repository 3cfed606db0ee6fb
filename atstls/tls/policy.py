# -*- test-case-name: tests.test_sslvc -*-
"""
What one listener, or one kind of outbound connection, demands of TLS: frozen, shared by all of its connections.
"""

from attrs import frozen
from OpenSSL import SSL

from atstls.tls.contexts import CertificateTable
from atstls.tls.hooks import HookSet
from atstls.tls.renewal import RenewedFront
from atstls.tls.sessions import OriginSessions
from atstls.tls.trace import WireTrace
from atstls.tls.verify import VerifyPolicy, VerifyProperties


@frozen(eq=False)
class ServerPolicy:
    """
    Demands on those who connect to us.

    @ivar front: the context that every connection starts from: versions, options, client verification, ticket keys.
    @ivar certificates: the contexts with certificates, by name and address.
    @ivar handshake_timeout_seconds: from accept to the end of the handshake, hooks included; 0: no limit.
    @ivar max_record_size: -1: small records first; 0: as large as TLS has them; else plaintext bytes at the most.
    @ivar allow_client_renegotiation: as C{front} has it: over TLS 1.2 a client may begin anew, and is answered.
    @ivar wire_trace: which connections are written to the log, as they are spoken; C{None}: none.
    @ivar renewal: gives another front context in the place of C{front} as time passes; C{None}: that one lasts.
    @ivar tickets: the contexts with certificates whose clients get tickets, where C{front} gives them; C{None}: all.
    @ivar strict_server_name: refuse a name that no certificate is for, with the alert unrecognized_name.
    """

    front: SSL.Context
    certificates: CertificateTable
    handshake_timeout_seconds: float = 30
    max_record_size: int = 0
    strict_server_name: bool = False
    allow_client_renegotiation: bool = False
    wire_trace: WireTrace | None = None
    renewal: RenewedFront | None = None
    tickets: frozenset[SSL.Context] | None = None


@frozen(eq=False)
class ClientPolicy:
    """
    Demands on those whom we connect to.

    @ivar handshake_timeout_seconds: from the connection's begin to the end of the handshake; 0: no limit.
    @ivar verify: what happens when the certificate is not good.
    @ivar properties: which parts of it have to be good.
    @ivar hooks: who is asked about these connections; C{None}: those that the processor has.
    @ivar sessions: where sessions are kept for the next connection; C{None}: they are not.
    """

    context: SSL.Context
    handshake_timeout_seconds: float = 30
    max_record_size: int = 0
    verify: VerifyPolicy = VerifyPolicy.ENFORCED
    properties: VerifyProperties = VerifyProperties.ALL
    hooks: HookSet | None = None
    sessions: OriginSessions | None = None
