# -*- test-case-name: tests.test_migration -*-
"""
L{HeldTLS}: what of a TLS connection, besides its socket, moves to another object.

With memory BIOs a TLS session is bound to no socket and no thread, so moving it is a change of owner: pyOpenSSL's
connection, inside of which are the keys and whatever ciphertext was read and not yet opened; the ciphertext that the
kernel has not taken; and what was found out about the peer.

Source: behaviour 1.32 and S031; ATS C{SSLNetVConnection::populate}.
"""

from typing import Any, Final

from attrs import field, frozen
from OpenSSL import SSL

from atstls.tls.engine import Engine, adopted_engine
from atstls.tls.phases import Move, Phase

FACTS: Final = (
    "_origin_session", "_renegotiations", "_sizer", "_tail", "bulky", "certificate", "clean_shutdown", "eos_received",
    "handshake_began", "handshake_seconds", "hooks", "negotiated_protocol", "next_protocol_set", "npn_endpoint",
    "not_tls", "offered", "policy", "server_name", "session_accept",
)  # fmt: skip
"""What a connection knows of itself, and still is true in another object's hands."""

MOVES_IN: Final = {
    Phase.OPEN: Move.ESTABLISHED,
    Phase.TUNNEL: Move.TUNNEL_CHOSEN,
    Phase.PLAIN: Move.CLEAR_TEXT,
}
"""How a fresh connection gets into the phase in which another was given away."""


@frozen(eq=False)
class HeldTLS:
    """
    The state of TLS that is between two owners.

    @ivar engine: C{None} in a blind tunnel, and in clear.
    @ivar phase: one of L{MOVES_IN}.
    @ivar unsent: ciphertext that the kernel has not taken.
    @ivar facts: the values of L{FACTS}; those of a fresh connection, where there are none.
    @ivar traced: the wire is written to the log.
    """

    engine: Engine | None
    phase: Phase
    unsent: bytes = b""
    facts: dict[str, Any] = field(factory=dict)
    traced: bool = False


def held_tls(ssl: HeldTLS | SSL.Connection | None, kind: type[Engine] | None) -> HeldTLS:
    """
    What C{populate} was given, as one thing.

    @param ssl: a pyOpenSSL connection whose handshake is done; C{None}: there is no TLS, and never will be.
    @raise LocalError: the pyOpenSSL connection cannot be taken over.
    """
    if isinstance(ssl, HeldTLS):
        return ssl
    if ssl is None:
        return HeldTLS(None, Phase.TUNNEL)
    protocol = ssl.get_alpn_proto_negotiated() or None
    name = ssl.get_servername()
    facts = {
        "negotiated_protocol": protocol,
        "server_name": None if name is None else name.decode("ascii", "backslashreplace").lower(),
    }
    return HeldTLS(adopted_engine(ssl, kind), Phase.OPEN, b"", facts)
