"""
Tests for what a connection can be asked about itself: its data, its options, and what is spoken on it.
"""

import os
import socket
from typing import Any
from unittest import skipUnless

from atstls.errors import LocalError
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.interfaces import INetVConnection, ISSLNetVConnection
from atstls.net.connection import SOCK_OPT_KEEP_ALIVE, SOCK_OPT_LINGER_ON, SOCK_OPT_NO_DELAY, NetVCOptions
from atstls.net.unixvc import DATA_CLOSED, DATA_OUTPUT_VC, DATA_READ_VIO, DATA_WRITE_VIO, UnixNetVConnection
from tests.support import OverBothPolls, RecordingContinuation, tcp_pair
from tests.tlssupport import OverTLS, hook_set, protocol_set


class DataTests(OverBothPolls):
    def test_get_data(self) -> None:
        """I can have the VIOs and the closed flag by number (N040)."""
        vc, _ = self.connection()
        self.assertIs(vc.read.vio, vc.get_data(DATA_READ_VIO))
        self.assertIs(vc.write.vio, vc.get_data(DATA_WRITE_VIO))
        self.assertEqual((0, None), (vc.get_data(DATA_CLOSED), vc.get_data(DATA_OUTPUT_VC)))
        vc.do_io_close()
        self.assertEqual(1, vc.get_data(DATA_CLOSED))
        self.assertRaises(LocalError, vc.get_data, 9)

    def test_set_data(self) -> None:
        """I can say where the bytes go, which is kept, and close; the VIOs are not mine to replace (N040)."""
        vc, _ = self.connection()
        other, _ = self.connection()
        vc.set_data(DATA_OUTPUT_VC, other)
        self.assertIs(other, vc.get_data(DATA_OUTPUT_VC))
        vc.set_data(DATA_CLOSED, 0)
        self.assertFalse(vc.closed)
        vc.set_data(DATA_CLOSED, 1)
        self.assertEqual((1, None), (vc.closed, vc.get_data(DATA_OUTPUT_VC)))
        vc.set_data(DATA_OUTPUT_VC, other)
        self.assertIsNone(vc.get_data(DATA_OUTPUT_VC))
        for which in (DATA_READ_VIO, DATA_WRITE_VIO, 9):
            self.assertRaises(LocalError, other.set_data, which, None)

    # Options.

    def option(self, vc: UnixNetVConnection, level: int, name: int) -> int:
        return vc.socket.getsockopt(level, name)

    def test_flags(self) -> None:
        """What my options say now is what the socket has: switched on, and off again (N042)."""
        vc, _ = self.connection(tcp_pair())
        found = []
        for flags in (SOCK_OPT_NO_DELAY | SOCK_OPT_KEEP_ALIVE, 0, SOCK_OPT_LINGER_ON, SOCK_OPT_NO_DELAY):
            vc.options = NetVCOptions(sockopt_flags=flags)
            vc.apply_options()
            linger = vc.socket.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            found.append(
                (
                    bool(self.option(vc, socket.IPPROTO_TCP, socket.TCP_NODELAY)),
                    bool(self.option(vc, socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
                    bool(linger[0]),
                )
            )
        self.assertEqual(
            [(True, True, False), (False, False, False), (False, False, True), (True, False, False)], found
        )

    def test_buffers_and_tos(self) -> None:
        """So are the sizes of its buffers and what its packets are marked with, over both families (N042)."""
        for host, level, name in (
            ("127.0.0.1", socket.IPPROTO_IP, socket.IP_TOS),
            ("::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
        ):
            vc, _ = self.connection(tcp_pair(host))
            before = self.option(vc, socket.SOL_SOCKET, socket.SO_SNDBUF)
            vc.options = NetVCOptions(packet_tos=0x10, recv_buffer_bytes=20000)
            vc.apply_options()
            self.assertEqual(0x10, self.option(vc, level, name))
            self.assertEqual(40000, self.option(vc, socket.SOL_SOCKET, socket.SO_RCVBUF), "Linux says the double")
            self.assertEqual(before, self.option(vc, socket.SOL_SOCKET, socket.SO_SNDBUF))
            vc.options.send_buffer_bytes = 30000
            vc.apply_options()
            self.assertEqual(60000, self.option(vc, socket.SOL_SOCKET, socket.SO_SNDBUF))

    @skipUnless(os.geteuid() == 0, "only root may mark packets")
    def test_mark(self) -> None:
        """So is the mark that routing rules see (N042)."""
        vc, _ = self.connection(tcp_pair())
        vc.options = NetVCOptions(packet_mark=7)
        try:
            vc.apply_options()
        except PermissionError:
            return  # root without the capability, as in a container
        self.assertEqual(7, self.option(vc, socket.SOL_SOCKET, socket.SO_MARK))

    def test_nothing_to_apply(self) -> None:
        """Without options, over a UNIX socket and after the close it is harmless."""
        vc, _ = self.connection()
        vc.apply_options()
        vc.options = NetVCOptions(packet_tos=0x10)
        vc.apply_options()
        vc.do_io_close()
        vc.apply_options()

    # Protocols.

    def test_plain_protocols(self) -> None:
        """What is spoken, from above to below (N043)."""
        found = []
        for pair in (tcp_pair(), tcp_pair("::1"), None):
            vc, _ = self.connection(pair)
            found.append(vc.populate_protocol())
        self.assertEqual([("tcp", "ipv4"), ("tcp", "ipv6"), ("unix",)], found)
        vc.do_io_close()
        self.assertEqual(((), None), (vc.populate_protocol(), vc.protocol_contains("tcp")))

    def test_plain_contains(self) -> None:
        """A tag is found by how it begins (N043)."""
        vc, _ = self.connection(tcp_pair())
        self.assertEqual(["ipv4", "tcp", None], [vc.protocol_contains(prefix) for prefix in ("ip", "tcp", "tls")])

    def test_plain_service(self) -> None:
        """A plain connection has what connections have, and nothing of TLS (N043)."""
        vc, _ = self.connection()
        self.assertIs(vc, vc.get_service(INetVConnection))
        self.assertIsNone(vc.get_service(ISSLNetVConnection))


globals().update(DataTests.make_test_case_classes())


class TLSFactsTests(OverTLS):
    def test_protocols(self) -> None:
        """TLS is named with its version, above it what ALPN agreed on (N043)."""
        vc, _, _ = self.established(tcp=True)
        version = self.tags_version(vc)
        self.assertEqual((version, "tcp", "ipv4"), vc.populate_protocol())
        self.assertEqual((version, None), (vc.protocol_contains("tls/"), vc.protocol_contains("h2")))
        self.assertIs(vc, vc.get_service(ISSLNetVConnection))

    def tags_version(self, vc: Any) -> str:
        return "tls/" + vc.get_ssl_protocol().removeprefix("TLSv")

    def test_alpn(self) -> None:
        """Who chose h2 speaks it (N043)."""
        vc, sock = self.accept(pair=tcp_pair())
        vc.register_next_protocol_set(protocol_set(b"h2", b"http/1.1"))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.assertEqual(("tcp", "ipv4"), vc.populate_protocol())
        peer = self.client(sock, alpn=(b"h2",))
        self.run_peers(peer)
        self.assertEqual(("h2", self.tags_version(vc), "tcp", "ipv4"), vc.populate_protocol())
        self.assertEqual("h2", vc.protocol_contains("h2"))

    def test_blind_tunnel(self) -> None:
        """What we do not decrypt is not TLS of ours (N043)."""
        vc, _ = self.accept(pair=tcp_pair(), hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.reactor.settle()
        self.assertEqual(("tcp", "ipv4"), vc.populate_protocol())


globals().update(TLSFactsTests.make_test_case_classes())
