# -*- test-case-name: tests.test_peerfacts -*-
"""
L{TLSFacts}: what a TLS connection can be asked about itself and about its peer.

All of it is computed when somebody asks, from OpenSSL's own state; a connection that nobody asks pays nothing.  Before
the handshake, in a blind tunnel and after the end there is no TLS, so there are no facts.

A certificate was written by whoever it belongs to, and OpenSSL takes some that break the rules of X.509.  One that
cannot be read counts as none: who decides by what stands in it must not be left with half an answer.

Source: the seed, C{getSSLProtocol} and what is round it; behaviour 1.14, S017 to S030, P05.
"""

from typing import Any

from atstls.errors import VerifyFailed
from atstls.ssl.trace import TraceableNetVConnection
from atstls.tls.certificates import UNREADABLE
from atstls.tls.engine import RENEGOTIATED_TOO_OFTEN, RENEGOTIATION_REFUSED
from atstls.tls.policy import ClientPolicy
from atstls.tls.verify import VerifyPolicy, VerifyProperties, check_peer


class TLSFacts(TraceableNetVConnection):
    """
    The part of a TLS connection that answers questions.

    @ivar eos_received: the peer's TLS stream has ended, in whatever way.
    """

    __slots__ = ()

    eos_received: bool
    ready: bool

    def get_ssl_protocol(self) -> str | None:
        """See L{ISSLNetVConnection.get_ssl_protocol<atstls.interfaces.ISSLNetVConnection.get_ssl_protocol>}."""
        return None if self.engine is None else self.engine.connection.get_protocol_version_name()

    def get_ssl_cipher_suite(self) -> str | None:
        """See L{ISSLNetVConnection.get_ssl_cipher_suite<atstls.interfaces.ISSLNetVConnection.get_ssl_cipher_suite>}."""
        return None if self.engine is None else self.engine.connection.get_cipher_name()

    def get_ssl_group(self) -> str | None:
        """
        The group (the curve) in which the key was agreed upon, as OpenSSL calls it: C{"x25519"} (ATS: C{getSSLCurve}).

        C{None} before that; and where there was none, as with the RSA key exchange of TLS 1.2.
        """
        return None if self.engine is None else self.engine.connection.get_group_name() or None

    def get_ssl_session_cache_hit(self) -> bool:
        """See L{ISSLNetVConnection<atstls.interfaces.ISSLNetVConnection>}."""
        return self.engine is not None and self.engine.session_reused

    def get_ssl_client_renegotiation_abort(self) -> bool:
        """Was the connection given up because the peer asked for a handshake that it may not have, or for too many?"""
        return self.engine is not None and self.engine.reason in (RENEGOTIATION_REFUSED, RENEGOTIATED_TOO_OFTEN)

    def is_eos_received(self) -> bool:
        """Has the peer's TLS stream ended?  C{clean_shutdown} says whether it said so, by close_notify."""
        return self.eos_received

    # The peer.

    def get_peer_certificate(self) -> Any:
        """The peer's certificate as C{cryptography} has it; C{None}: it showed none, or none that can be read."""
        if self.engine is None:
            return None
        try:
            return self.engine.connection.get_peer_certificate(as_cryptography=True)
        except UNREADABLE:
            return None

    def get_peer_certificate_chain(self) -> tuple[Any, ...]:
        """
        What the peer showed, its own certificate first, and as little to be believed as anything that it sent.

        Empty when it showed nothing, or when something in it cannot be read.
        """
        leaf = self.get_peer_certificate()
        if leaf is None:
            return ()
        assert self.engine is not None
        try:
            shown = self.engine.connection.get_peer_cert_chain(as_cryptography=True) or []
        except UNREADABLE:
            return ()
        # OpenSSL leaves a client's own certificate out of what it showed.
        return tuple(shown) if leaf in shown[:1] else (leaf, *shown)

    def get_verified_chain(self) -> tuple[Any, ...]:
        """
        From the peer's certificate to a root that we trust, as OpenSSL found it.

        Empty where nothing was verified, or it was in vain; and for a session that was resumed, whose first handshake
        did that.
        """
        tls = self.engine
        if tls is None or tls.verify_result:
            return ()
        try:
            return tuple(tls.connection.get_verified_chain(as_cryptography=True) or ())
        except UNREADABLE:
            return ()

    def get_verified_name(self) -> str | None:
        """
        The name, or the address, that we meant to reach and for which the peer's certificate is.

        C{None} for connections that came in; where the policy does not look at names; and where it does, and goes on
        all the same (PERMISSIVE) with a peer of another name.
        """
        tls, policy = self.engine, self.policy
        if tls is None or not self.ready or not isinstance(policy, ClientPolicy):
            return None
        if policy.verify is VerifyPolicy.DISABLED or VerifyProperties.NAME not in policy.properties:
            return None
        expected = (self.options.sni_servername if self.options else None) or self.server_name
        if expected is None:
            return None
        try:
            check_peer(tls.connection, expected)
        except VerifyFailed:
            return None
        return expected
