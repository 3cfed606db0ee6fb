# -*- test-case-name: tests.test_statistics_edge -*-
"""
What the statistics tell of connections that go on to another host.

When two connections are joined each is counted, by what is done with it.  How many are joined now is not counted but
seen: the user of a connection that is joined is a L{OneWayTunnel<atstls.session.tunnel.OneWayTunnel>}, as long as bytes
may pass.

Source: behaviour 1.34; ATS C{SSLNetVConnection::_in_context_tunnel}, C{UnixNetVConnection::_in_context_tunnel}.
"""

from typing import Any

from atstls.net.handler import NetHandler
from atstls.session.tunnel import OneWayTunnel
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.statistics import Counters, counters
from atstls.tls.hooks import TUNNEL_OP


def tally_tunnel(vc: Any, origin: Any) -> None:
    """C{vc}, which came in, and C{origin} are being joined."""
    again = isinstance(origin, SSLNetVConnection)
    if again:
        counters.total_server_connections_tls += 1
    else:
        counters.total_server_connections_blind_tcp += 1
    if isinstance(vc, SSLNetVConnection) and vc.engine is not None and not again:
        counters.total_client_connections_tls_forward += 1  # the rule
    else:
        name = f"total_{_client_word(vc, origin)}"
        setattr(counters, name, getattr(counters, name) + 1)


def look_at_tunnels(handler: NetHandler, totals: Counters) -> None:
    """Which connections of C{handler} are joined now."""
    for vc in handler.open_list:
        tunnel = vc.read.cont
        if isinstance(tunnel, OneWayTunnel):
            # Of one that has no more to say the user is the tunnel in the other direction, which tells of timeouts.
            other = tunnel.target if tunnel.source is vc else tunnel.source
            name = f"current_{_server_word(vc) if vc.is_client else _client_word(vc, other)}"
            setattr(totals, name, getattr(totals, name) + 1)


def _client_word(vc: Any, origin: Any) -> str:
    """The end of the name for a connection that came in."""
    if not isinstance(vc, SSLNetVConnection) or vc.engine is None:
        # On a port for TLS only hooks, such as that of routes, make blind tunnels of TLS; others' first byte was not.
        word = "tls_tunnel" if getattr(vc, "hook_op", None) == TUNNEL_OP else "blind_tcp"
    else:
        word = "tls_partial_blind" if isinstance(origin, SSLNetVConnection) else "tls_forward"
    return f"client_connections_{word}"


def _server_word(origin: Any) -> str:
    """The end of the name for a connection that we made."""
    return f"server_connections_{'tls' if isinstance(origin, SSLNetVConnection) else 'blind_tcp'}"
