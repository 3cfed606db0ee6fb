"""
Tests for L{atstls.ssl.proxied}: a header of the PROXY protocol before the client's first byte.
"""

import itertools
import weakref
from ipaddress import ip_network
from typing import Any

from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.net.proxyheader import V2_SIGNATURE, ProxyHeader, proxy_bytes
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.ssl.proxied import ProxiedSSLNetVConnection, ProxyDemands
from atstls.ssl.sslvc import NOT_TLS_PLAIN, NOT_TLS_TUNNEL, SSLNetVConnection
from atstls.tls.engine import CffiEngine
from atstls.tls.phases import Phase
from tests.support import RecordingContinuation, make_handler
from tests.tlssupport import OverTLS, TLSPeer, cuts, hook_set, server_policy

SOURCE, DESTINATION = ("203.0.113.5", 4000), ("198.51.100.7", 443)
HEADERS = (
    ProxyHeader(1, SOURCE, DESTINATION),
    ProxyHeader(2, SOURCE, DESTINATION, tlvs=((2, b"x.example"), (0xE0, b"\0"))),
    ProxyHeader(1),
    ProxyHeader(2, local=True),
)
PEER = ("192.0.2.9", 4711)
"""What the tests' sockets call their peer."""


class ProxiedTests(OverTLS):
    engines = (CffiEngine,)

    demands = ProxyDemands()

    def allocate(self, policy: Any) -> SSLNetVConnection:
        kind = self.engine_kind
        attributes = {"__slots__": (), "engine_kind": kind, "__module__": SSLNetVConnection.__module__}
        vc = type("SSLNetVConnection", (ProxiedSSLNetVConnection,), attributes)
        return vc(self.handler, policy, self.demands)  # type: ignore[no-any-return]

    def waiting(self, **more: Any) -> tuple[Any, Any, RecordingContinuation]:
        """A connection whose user waits for the handshake; and the peer's socket."""
        vc, sock = self.accept(**more)
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return vc, sock, cont

    def proxied(self, header: ProxyHeader | None, cut: Any = None, **more: Any) -> tuple[Any, TLSPeer, Any]:
        """A client whose handshake is done, behind a header."""
        vc, sock, cont = self.waiting(**more)
        peer = self.client(sock, **({} if cut is None else {"cut": cut}))
        if header is not None:
            peer.to_send += proxy_bytes(header)
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], True, ""), (cont.events, peer.done, peer.reason))
        return vc, peer, cont

    def refused(self, data: bytes, *words: str, **more: Any) -> None:
        """Who sends C{data} is closed, with one line in the log."""
        vc, sock, cont = self.waiting(**more)
        peer = self.client(sock)
        peer.to_send[:0] = data
        self.run_peers(peer)
        peer.sock.shutdown(1)
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assert_gone(vc)
        self.assert_one_line("handshake of", *words)
        self.logged.clear()
        self.assertFalse(peer.plain or peer.done)

    def test_handshake_behind_it(self) -> None:
        """The header is taken out and kept, in whatever pieces it comes, and TLS follows; bytes are bytes."""
        for header in HEADERS:
            for name, cut in cuts().items():
                vc, peer, _ = self.proxied(header, cut)
                self.assertEqual(header, vc.proxy_header, name)
                _, found = self.read_all(vc)
                peer.write(b"hello")
                self.write(vc, b"world")
                self.run_peers(peer)
                self.assertEqual((b"hello", b"world"), (bytes(found), bytes(peer.plain)))

    def test_without_one(self) -> None:
        """A client without a header is served as anywhere."""
        for cut in cuts().values():
            vc, _, _ = self.proxied(None, cut)
            self.assertIsNone(vc.proxy_header)
            self.assertEqual(PEER, vc.get_effective_remote_addr())

    def test_in_one_piece_with_what_follows(self) -> None:
        """What came in the same segment is not lost (the header, the hello, and no more news from the kernel)."""
        _vc, sock, cont = self.waiting()
        peer = self.client(sock)
        peer._step()
        sock.send(proxy_bytes(HEADERS[1]) + bytes(peer.to_send))
        peer.to_send.clear()
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_who_the_client_is(self) -> None:
        """By default the peer is the peer, and the header is for who asks; where it is believed it is the client."""
        for believe in (False, True):
            self.demands = ProxyDemands(believe=believe)
            for header in HEADERS:
                vc, _, _ = self.proxied(header)
                self.assertEqual(SOURCE if believe and header.source else PEER, vc.get_remote_addr())
                self.assertEqual(SOURCE if header.source else PEER, vc.get_effective_remote_addr())
                self.assertEqual("203.0.113.5:4000" if believe and header.source else "192.0.2.9:4711", vc.peer_name())

    def test_certificate_for_an_address(self) -> None:
        """It is where the client has connected to that counts, not where the load balancer has."""
        policy = server_policy(self.version)
        table = type(policy.certificates)()
        contexts = {name: policy.certificates.find_by_name(name) for name in ("a.example", "c.example")}
        table.add(contexts["a.example"], ["a.example"], default=True)  # type: ignore[arg-type]
        table.add(contexts["c.example"], [], addresses=["198.51.100.7:443"])  # type: ignore[arg-type]
        policy = type(policy)(policy.front, table)
        for header, name in zip(HEADERS, ("c.example", "c.example", "a.example", "a.example"), strict=True):
            vc, sock, cont = self.waiting(policy=policy)
            peer = self.client(sock, name="what.example")
            peer.to_send += proxy_bytes(header)
            self.run_peers(peer)
            self.assertIs(contexts[name], vc.certificate)
            self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_what_hooks_see(self) -> None:
        """At VCONN_START nothing was read; from CLIENT_HELLO on the header is there."""
        seen: list[Any] = []

        def look(vc: Any) -> None:
            seen.append(vc.proxy_header)

        self.proxied(HEADERS[1], hooks=hook_set(vconn_start=look, client_hello=look, cert=look, vconn_close=look))
        self.assertEqual([None, HEADERS[1], HEADERS[1]], seen)

    def test_malformed(self) -> None:
        """What is wrong is not passed to TLS, nor served in clear, nor tunnelled: it ends."""
        for not_tls in (0, NOT_TLS_TUNNEL, NOT_TLS_PLAIN):
            for data in (
                b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
                b"PROXY " + b"x" * 200,
                V2_SIGNATURE + b"\x31\x11\0\0",
                V2_SIGNATURE + b"\x21\x11\0\x04abcd",
                V2_SIGNATURE + b"\x21\x31\0\xd8" + bytes(216),
            ):

                def prepare(vc: Any, not_tls: int = not_tls) -> None:
                    vc.not_tls = not_tls

                self.refused(data, "the PROXY header is wrong", prepare=prepare)

    def test_moved(self) -> None:
        """A connection that moves to another handler takes what it was told with it, and reads on as TLS."""
        vc, peer, _ = self.proxied(HEADERS[0])
        other, poll = make_handler(self.kind, self.reactor)
        new = vc.migrate(other)
        self.assertIs(ProxiedSSLNetVConnection, type(new))
        self.assertEqual(HEADERS[0], new.proxy_header)
        _, got = self.read_all(new)
        peer.write(b"ping")
        self.run_peers(peer)
        self.assertEqual(b"ping", bytes(got))
        new.do_io_close()
        self.run_peers(peer)
        poll.close()

    def test_twice(self) -> None:
        """A second header is no TLS, whoever believes the first one."""
        for first, second in itertools.pairwise(HEADERS):
            self.refused(proxy_bytes(first) + proxy_bytes(second), "handshake of")

    def test_from_elsewhere(self) -> None:
        """Only those who are named may send one; the others may come without."""
        self.demands = ProxyDemands((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")), believe=True)
        for header in HEADERS:
            self.refused(proxy_bytes(header), "not in proxy_protocol_allowlist")
        self.refused(V2_SIGNATURE + b"\x31\x11\0\0", "not in proxy_protocol_allowlist")
        self.proxied(None)
        self.demands = ProxyDemands((ip_network("192.0.2.0/24"),))
        self.proxied(HEADERS[0])

    def test_who_may(self) -> None:
        """Addresses as they are written by sockets for one family or both; who has none is not named."""
        demands = ProxyDemands((ip_network("192.0.2.0/24"), ip_network("fe80::/10")))
        for address, allowed in (
            (("192.0.2.1", 1), True),
            (("::ffff:192.0.2.1", 1), True),
            (("::ffff:192.0.3.1", 1), False),
            (("fe80::1%eth0", 1), True),
            ("/run/x", False),
            ("", False),
            (None, False),
        ):
            self.assertEqual(allowed, demands.allows(address), address)
            self.assertTrue(ProxyDemands().allows(address))

    def test_slowly(self) -> None:
        """Bytes of a header do not renew the deadline of the handshake, and nothing spins meanwhile."""
        for data in (proxy_bytes(HEADERS[0]), proxy_bytes(HEADERS[1]), b""):
            vc, sock, cont = self.waiting(policy=server_policy(self.version, handshake_timeout_seconds=5))
            deadline = vc.deadline
            self.assertGreater(deadline, 0)
            self.reactor.settle()
            for at in range(len(data) - 1):
                sock.send(data[at : at + 1])
                self.reactor.settle()
                self.assert_idle()
            self.assertEqual((deadline, []), (vc.deadline, cont.events))
            vc.deadline_passed()  # as the cop calls it
            self.assertEqual(["ERROR"], cont.events)
            self.assertIn("not done after 5 s, in the phase 'hello'", self.lines()[-1])
            self.assert_gone(vc)

    def test_gone(self) -> None:
        """A peer that leaves in the middle of it leaves nothing behind."""
        for header in HEADERS[:2]:
            data = proxy_bytes(header)
            for length in (0, 1, len(data) - 1, len(data)):
                vc, sock, cont = self.waiting()
                sock.send(data[:length])
                self.reactor.settle()
                sock.close()
                self.reactor.settle()
                self.assertEqual(["ERROR"], cont.events)
                self.assert_gone(vc)
                reference = weakref.ref(vc)
                del vc
                self.assert_collected(reference)

    def test_tunnel(self) -> None:
        """A hook that wants a tunnel gets it from the client's first byte on, whichever hook it is."""
        for hooks in (hook_set(vconn_start=lambda vc: vc.tunnel()), hook_set(client_hello=lambda vc: vc.tunnel())):
            for header in HEADERS:
                for cut in cuts().values():
                    vc, sock, cont = self.waiting(hooks=hooks)
                    peer = self.client(sock, cut=cut)
                    peer._step()
                    hello = bytes(peer.to_send)
                    peer.to_send[:0] = proxy_bytes(header)
                    self.run_peers(peer)
                    self.assertEqual((["READ_COMPLETE"], Phase.TUNNEL), (cont.events, vc.phase))
                    _, found = self.read_all(vc)
                    self.run_peers(peer)
                    self.assertEqual((hello, header), (bytes(found), vc.proxy_header))

    def test_not_tls(self) -> None:
        """What is not TLS behind a header is on such a port what it is without one."""
        for not_tls, phase in ((NOT_TLS_TUNNEL, Phase.TUNNEL), (NOT_TLS_PLAIN, Phase.PLAIN)):
            for header in (*HEADERS, None):
                vc, sock, cont = self.waiting(prepare=lambda vc, not_tls=not_tls: setattr(vc, "not_tls", not_tls))
                sock.send((proxy_bytes(header) if header else b"") + b"GET / HTTP/1.1\r\n\r\n")
                self.reactor.settle()
                self.assertEqual((["READ_COMPLETE"], phase), (cont.events, vc.phase))
                _, found = self.read_all(vc)
                self.reactor.settle()
                self.assertEqual(b"GET / HTTP/1.1\r\n\r\n", bytes(found))

    def test_without_tls(self) -> None:
        """On a port without TLS the same; its first byte may be any, TLS's too."""
        self.demands = ProxyDemands(plain=True)
        for data in (b"GET", b"\x16\x03\x01", b"PRI", b"", b"\r\n\r\nX"):
            for header in (*HEADERS, None):
                for whole in (True, False):
                    vc, sock, cont = self.waiting()
                    wire = (proxy_bytes(header) if header else b"") + data
                    for at in range(0, len(wire), len(wire) + 1 if whole else 1):
                        sock.send(wire if whole else wire[at : at + 1])
                        self.reactor.settle()
                    if not wire:
                        self.assertEqual([], cont.events)  # He may still begin with a header.
                        continue
                    self.assertEqual(["READ_COMPLETE"], cont.events, wire)
                    self.assertEqual((Phase.PLAIN, TRANSPORT_BLIND_TUNNEL, 0), (vc.phase, vc.attributes, vc.deadline))
                    self.assertEqual(("unix",), vc.populate_protocol())
                    _, found = self.read_all(vc)
                    self.write(vc, b"answer")
                    sock.send(b"more")
                    self.reactor.settle()
                    self.assertEqual((data + b"more", b"answer"), (bytes(found), sock.recv(100)))

    def test_largest(self) -> None:
        """A header may be as large as its length can say, and no byte behind it is lost."""
        self.demands = ProxyDemands(plain=True)
        header = ProxyHeader(2, SOURCE, DESTINATION, tlvs=((0xE0, b"x" * 65520),))
        vc, sock, cont = self.waiting()
        data = proxy_bytes(header) + b"hello"
        self.assertEqual(16 + 0xFFFF + 5, len(data))
        for at in range(0, len(data), 4096):
            self.assertEqual([], cont.events)
            sock.send(data[at : at + 4096])
            self.reactor.settle()
        self.assertEqual((header, ["READ_COMPLETE"]), (vc.proxy_header, cont.events))
        _, found = self.read_all(vc)
        self.reactor.settle()
        self.assertEqual(b"hello", bytes(found))


globals().update(ProxiedTests.make_test_case_classes())
del ProxiedTests
