# -*- test-case-name: tests.test_statistics_edge -*-
"""
Tests for L{atstls.edge.tunnels}, and for how a program comes to its statistics.
"""

import errno
import socket
from typing import Any
from weakref import WeakKeyDictionary

from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.build import Machinery
from atstls.edge.onward import Onward, OnwardTLS
from atstls.edge.service import TLSEdgeService
from atstls.edge.tunnels import look_at_tunnels
from atstls.edge.ways import Forward, Reencrypt, Refuse, Serve, Tunnel
from atstls.endpoints import ClientTLS
from atstls.events import NET_EVENT_ACCEPT
from atstls.net.connection import NetVCOptions
from atstls.net.handler import look_at_connections
from atstls.net.perclient import ClientLimit
from atstls.net.processor import NetProcessor
from atstls.session.splice import empty_pool
from atstls.ssl.processor import SSLNetProcessor
from atstls.ssl.sslvc import NOT_TLS_TUNNEL
from atstls.statistics import registry
from atstls.tls import alerts
from atstls.tls.contexts import ClientSettings
from atstls.tls.engine import CffiEngine
from tests.support import HandReactor, reset, tcp_pair
from tests.test_ways import WaysTestCase, own
from tests.tlssupport import VERSIONS, OverTLS, ca_file, client_policy, hook_set

TUNNEL = "proxy.process.tunnel."
NET = "proxy.process.net."

CLIENTS = ("blind_tcp", "tls_tunnel", "tls_forward", "tls_partial_blind")
SERVERS = ("blind_tcp", "tls")
WORDS = [*(f"client_connections_{word}" for word in CLIENTS), *(f"server_connections_{word}" for word in SERVERS)]
NAMES = (
    "total_client_connections_blind_tcp", "total_client_connections_tls_tunnel",
    "total_client_connections_tls_forward", "total_client_connections_tls_partial_blind",
    "total_server_connections_blind_tcp", "total_server_connections_tls",
    "current_client_connections_blind_tcp", "current_client_connections_tls_tunnel",
    "current_client_connections_tls_forward", "current_client_connections_tls_partial_blind",
    "current_server_connections_blind_tcp", "current_server_connections_tls",
)  # fmt: skip


class TunnelTests(OverTLS):
    """
    Connections that go on to another host.
    """

    engines = (CffiEngine,)

    def setUp(self) -> None:
        super().setUp()
        self.patch(registry, "_looks", WeakKeyDictionary())
        registry.watch(self.handler, look_at_connections)
        registry.watch(self.handler, look_at_tunnels)
        self.before = registry.snapshot()
        listener = self.keep(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        self.listener = listener
        self.address = listener.getsockname()[:2]

    def tearDown(self) -> None:
        empty_pool()
        super().tearDown()

    def counted(self) -> dict[str, int]:
        """All that is not 0, totals since the test began."""
        moved = registry.snapshot() - self.before
        return {name: moved[TUNNEL + name] for name in NAMES if moved[TUNNEL + name]}

    def both(self, client: str, server: str, total: int = 1, current: int = 1) -> dict[str, int]:
        """What is expected when such connections are joined."""
        found = {}
        for kind, number in (("total", total), ("current", current)):
            if number:
                found[f"{kind}_client_connections_{client}"] = number
                found[f"{kind}_server_connections_{server}"] = number
        return found

    def origin(self) -> socket.socket:
        """The other end of what is dialled."""
        found: list[socket.socket] = []

        def came() -> bool:
            try:
                found.append(self.keep(self.listener.accept()[0]))
            except BlockingIOError:
                return False
            return True

        self.run_peers(until=came)
        found[0].setblocking(False)
        return found[0]

    def go_on(self, vc: Any, over_tls: bool = False, blind: bool = False) -> socket.socket:
        """Give C{vc} to who joins it with an origin."""
        if over_tls:
            policies = {None: client_policy(self.version)}
            processor: NetProcessor = SSLNetProcessor(self.handler)
            onward: Onward = OnwardTLS(
                "[here]", processor, self.address, NetVCOptions(), policies=policies, name="a.example"
            )
        else:
            onward = Onward("[here]", NetProcessor(self.handler), self.address, NetVCOptions(), blind=blind)
        onward.handle_event(NET_EVENT_ACCEPT, vc)
        return self.origin()

    def end(self, vc: Any, client: str, server: str, sock: socket.socket, origin: socket.socket) -> None:
        """However it ends, nothing is joined any more; of one that is half closed, all is."""
        self.assertEqual(self.both(client, server), self.counted())
        origin.shutdown(socket.SHUT_WR)
        self.run_peers(until=lambda: vc.write_shut)
        self.assertEqual(self.both(client, server), self.counted())
        sock.close()
        self.run_peers(until=lambda: not self.handler.open_list)
        self.assertEqual(self.both(client, server, current=0), self.counted())

    def test_forward(self) -> None:
        """TLS ends here."""
        vc, peer, _ = self.established(tcp=True)
        origin = self.go_on(vc)
        self.run_peers(until=self.counted)
        self.end(vc, "tls_forward", "blind_tcp", peer.sock, origin)

    def test_partial_blind(self) -> None:
        """TLS on both sides, and not counted before the origin's handshake is done."""
        vc, peer, _ = self.established(tcp=True)
        origin = self.go_on(vc, over_tls=True)
        self.assertEqual({}, self.counted())
        self.peers.append(self.server(origin))
        self.run_peers(until=self.counted)
        self.assertEqual(self.both("tls_partial_blind", "tls"), self.counted())
        peer.sock.close()
        origin.close()
        self.run_peers(until=lambda: not self.handler.open_list)
        self.assertEqual(self.both("tls_partial_blind", "tls", current=0), self.counted())

    def test_tunnel(self) -> None:
        """TLS that is passed on as it came."""
        vc, sock = self.accept(pair=tcp_pair(), hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        peer = self.client(sock)
        self.run_peers(until=lambda: vc.ready)
        origin = self.go_on(vc, blind=True)
        self.run_peers(until=self.counted)
        self.end(vc, "tls_tunnel", "blind_tcp", peer.sock, origin)

    def test_blind_tcp(self) -> None:
        """No TLS: on a port that has none, and on one that passes on what is none."""
        vc, sock = self.connection(tcp_pair())
        origin = self.go_on(vc, blind=True)
        self.run_peers(until=self.counted)
        self.end(vc, "blind_tcp", "blind_tcp", sock, origin)
        self.before = registry.snapshot()
        vc, sock = self.accept(pair=tcp_pair(), prepare=lambda vc: setattr(vc, "not_tls", NOT_TLS_TUNNEL))
        sock.send(b"SSH-2.0-x\r\n")
        self.run_peers(until=lambda: vc.ready)
        origin = self.go_on(vc, blind=True)
        self.run_peers(until=self.counted)
        self.end(vc, "blind_tcp", "blind_tcp", sock, origin)

    def test_not_joined(self) -> None:
        """An origin that cannot be had makes no tunnel."""
        vc, _peer, _ = self.established(tcp=True)
        self.listener.close()
        Onward("[here]", NetProcessor(self.handler), self.address, NetVCOptions()).handle_event(NET_EVENT_ACCEPT, vc)
        self.run_peers(until=lambda: vc.closed)
        self.assertEqual({}, self.counted())

    def test_a_flood(self) -> None:
        """Tunnels of every ending: as many as were made, in the total; and none, in the end, in those of now."""
        kinds = {"blind_tcp": 0, "tls_forward": 0}
        made = []
        for number in range(24):
            if number % 2:
                vc, sock = self.connection(tcp_pair())
            else:
                vc, peer, _ = self.established(tcp=True)
                sock = peer.sock
            kind = "blind_tcp" if number % 2 else "tls_forward"
            kinds[kind] += 1
            origin = self.go_on(vc, blind=bool(number % 2))
            total = number + 1
            self.run_peers(
                until=lambda: self.counted().get("total_server_connections_blind_tcp") == total  # noqa: B023
            )
            made.append((vc, sock, origin))
        found = self.counted()
        for when in ("total", "current"):
            self.assertEqual(kinds, {kind: found[f"{when}_client_connections_{kind}"] for kind in kinds})
            self.assertEqual(24, found[f"{when}_server_connections_blind_tcp"])
        for number, (vc, sock, origin) in enumerate(made):
            end = number // 2 % 5
            if end == 0:
                sock.close()
                origin.close()
            elif end == 1:
                reset(sock)
            elif end == 2:
                reset(origin)
            elif end == 3:
                vc.do_io_close(errno.ECONNABORTED)
                sock.close()
                origin.close()
            else:
                sock.close()
        for _vc, sock, origin in made:
            sock.close()
            origin.close()
        for vc in list(self.handler.open_list):
            vc.do_io_close()
        self.run_peers(until=lambda: not self.handler.open_list)
        self.assertEqual(
            {
                "total_client_connections_blind_tcp": 12,
                "total_client_connections_tls_forward": 12,
                "total_server_connections_blind_tcp": 24,
            },
            self.counted(),
        )
        self.assertEqual(0, registry.snapshot()[NET + "connections_currently_open"])


globals().update(TunnelTests.make_test_case_classes())


class RunningEdgeTests(WaysTestCase):
    """
    An edge, as a program has it, and its clients.
    """

    def setUp(self) -> None:
        super().setUp()
        looks: Any = WeakKeyDictionary()
        looks[self.edge.machinery.handler] = [look_at_connections, look_at_tunnels]
        self.patch(registry, "_looks", looks)
        self.before = self.edge.statistics.snapshot()

    def moved(self, *names: str) -> tuple[Any, ...]:
        """Values since then, of C{proxy.process}."""
        moved = self.edge.statistics.snapshot() - self.before
        return tuple(moved[f"proxy.process.{name}"] for name in names)

    def test_every_way(self) -> None:
        """
        What came in is what was served, passed on or turned away; what was read is what was written; and in the end
        nobody is there.
        """
        self.start()
        self.edge.listen("plain", None, Serve(self.factory), port=0)
        self.edge.listen("origin", own("c.example"), Serve(self.factory), port=0)
        trusting = ClientTLS(ClientSettings(ca_file=ca_file()))
        self.edge.listen(
            "https",
            own("a.example"),
            {
                "a.example": self.factory,
                "b.example": Forward(f"127.0.0.1:{self.port('plain')}"),
                "c.example": Reencrypt(f"127.0.0.1:{self.port('origin')}", trusting),
                "d.example": Tunnel(f"127.0.0.1:{self.port('origin')}"),
                "e.example": Refuse("it has not paid", alerts.ACCESS_DENIED),
            },
            port=0,
        )
        peers = []
        for version in VERSIONS:
            for name in ("a.example", "b.example", "c.example", "d.example"):
                peer = self.client("https", name, version)
                self.echoes(peer, b"x" * 1000)
                peers.append(peer)
            refused = self.client("https", "e.example", version)
            self.refused(refused, alerts.ACCESS_DENIED)
            refused.sock.close()
        # Of each version: five clients; an origin in clear, and two over TLS, one of which is the tunnelled client.
        self.assertEqual((2 * (5 + 3),), self.moved("tcp.total_accepts"))
        attempts, success, failed, tunnelled = self.moved(
            "ssl.total_attempts_handshake_count_in", "ssl.total_success_handshake_count_in",
            "ssl.total_failed_handshake_count_in", "ssl.total_tunnelled_handshake_count_in",
        )  # fmt: skip
        self.assertEqual((14, 10, 2, 2), (attempts, success, failed, tunnelled))
        self.assertEqual(
            (2, 2), self.moved("ssl.total_attempts_handshake_count_out", "ssl.total_success_handshake_count_out")
        )
        # What is encrypted anew is of TLS 1.3 in any case, and is counted at both of its ends.
        self.assertEqual((4, 8), self.moved("ssl.ssl_total_tlsv12", "ssl.ssl_total_tlsv13"))
        self.assertEqual((2,), self.moved("ssl.user_agent_other_errors"))
        for when in ("total", "current"):
            clients = [f"tunnel.{when}_client_connections_{word}" for word in CLIENTS]
            servers = [f"tunnel.{when}_server_connections_{word}" for word in SERVERS]
            self.assertEqual((0, 2, 2, 2), self.moved(*clients))
            self.assertEqual((4, 2), self.moved(*servers))
        ports = "proxy.process.net.accepts_currently_open"  # of all in the process, those of other tests too
        self.assertEqual(3, self.edge.statistics.snapshot()[ports] - self.before[ports])
        for peer in peers:
            peer.shutdown()
        self.run_until(lambda: all(peer.end for peer in peers), *peers)
        for peer in peers:
            peer.sock.close()
        self.run_until(lambda: not self.edge.machinery.handler.open_list)
        self.assertEqual((0,) * 6, self.moved(*(f"tunnel.current_{word}" for word in WORDS)))
        self.assertEqual((0,), self.moved("net.connections_currently_open"))
        read, written = self.moved("net.read_bytes", "net.write_bytes")
        # What goes on is read three times on its way: from the client, by the origin, and from the origin.
        self.assertEqual(read, written)
        self.assertGreater(read, 2 * 1000 * (1 + 3 + 3 + 3))
        self.edge.stopService()
        self.assertEqual(self.before[ports], self.edge.statistics.snapshot()[ports])


class EdgeTests(SynchronousTestCase):
    def test_attribute(self) -> None:
        """Who has the service has the statistics."""
        self.assertIs(registry, TLSEdgeService.statistics)

    def test_an_edge_is_looked_at(self) -> None:
        """Its connections and its tunnels are in each snapshot, once; and not when there is no edge any more."""
        looks: Any = WeakKeyDictionary()
        self.patch(registry, "_looks", looks)
        machinery = Machinery(HandReactor())
        self.assertEqual([[look_at_connections, look_at_tunnels]], [*looks.values()])
        self.assertIs(machinery.handler, next(iter(looks)))

    def test_addresses(self) -> None:
        """How many there are in the table of them, and those of which there were too many connections."""
        self.patch(registry, "_looks", WeakKeyDictionary())
        before = registry.snapshot()
        limit = ClientLimit(1)

        class Connection:
            on_free: Any = None

        vcs = [Connection(), Connection()]
        for number, vc in enumerate(vcs):
            limit.entered(vc, (f"192.0.2.{number}", 1))
        self.assertTrue(limit.refuses(("192.0.2.1", 2)))
        moved = registry.snapshot() - before
        names = (
            "connection_tracker_table_size",
            "per_client.connections_throttled_in",
            "per_client.connections_exempt_in",
        )
        self.assertEqual((2, 1, 0), tuple(moved[NET + name] for name in names))
        for vc in vcs:
            vc.on_free()
        self.assertEqual(0, registry.snapshot()[NET + "connection_tracker_table_size"])
