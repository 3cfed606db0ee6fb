"""
Tests for L{atstls.net.connection}.
"""

import errno
import socket

from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from atstls.net.connection import (
    SOCK_OPT_KEEP_ALIVE,
    SOCK_OPT_LINGER_ON,
    SOCK_OPT_NO_DELAY,
    AcceptOptions,
    NetVCOptions,
    apply_options,
    begin_connect,
    family_of,
    is_ip,
    named,
    open_socket,
    reset_on_close,
    words,
)
from tests.support import open_descriptors, tcp_pair


class NamedTests(SynchronousTestCase):
    """A socket's end as Python names it, and as we do."""

    def test_named(self) -> None:
        """An address that holds on one link only says on which."""
        lo = socket.if_nametoindex("lo")
        for name, expected in (
            (("192.0.2.1", 1), ("192.0.2.1", 1)),
            (("2001:db8::1", 1, 0, 0), ("2001:db8::1", 1)),
            (("fe80::1", 1, 0, lo), ("fe80::1%lo", 1)),
            (("fe80::1%lo", 1, 0, lo), ("fe80::1%lo", 1)),
            (("fe80::1", 1, 0, 1 << 30), ("fe80::1", 1)),
            ("/run/socket", "/run/socket"),
            (b"/run/socket", "/run/socket"),
            ("", ""),
        ):
            self.assertEqual(expected, named(name))


class OpenSocketTests(SynchronousTestCase):
    def open(self, address: tuple[str, int] | str = ("127.0.0.1", 1), **options: object) -> socket.socket:
        sock = open_socket(address, NetVCOptions(**options))  # type: ignore[arg-type]
        self.addCleanup(sock.close)
        return sock

    def test_family(self) -> None:
        """The address says which family the socket is of, and it never blocks."""
        for address, family in (
            (("192.0.2.1", 1), socket.AF_INET), (("2001:db8::1", 1), socket.AF_INET6), ("/run/x", socket.AF_UNIX)
        ):  # fmt: skip
            sock = self.open(address)
            self.assertEqual((family, family, False), (family_of(address), sock.family, sock.getblocking()))

    def test_flags(self) -> None:
        """What is asked for is what the kernel has; without being asked, only that small pieces go at once (N042)."""
        for flags, expected in (
            (SOCK_OPT_NO_DELAY, (1, 0, 0)),
            (SOCK_OPT_KEEP_ALIVE, (0, 1, 0)),
            (SOCK_OPT_LINGER_ON, (0, 0, 1)),
            (7, (1, 1, 1)),
            (0, (0, 0, 0)),
        ):
            sock = self.open(sockopt_flags=flags)
            linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            got = (
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                linger[0],
            )
            self.assertEqual(expected, got)
        self.assertEqual(1, self.open().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_flags_of_a_unix_socket(self) -> None:
        """What only TCP has is passed over for a UNIX socket."""
        self.open("/run/x", sockopt_flags=7, local_ip="192.0.2.1", packet_tos=4)

    def test_buffers(self) -> None:
        """Sizes of buffers that are asked for are set, others are left to the system."""
        usual = self.open()
        small = self.open(recv_buffer_bytes=5000, send_buffer_bytes=6000)
        for option, size in ((socket.SO_RCVBUF, 5000), (socket.SO_SNDBUF, 6000)):
            self.assertEqual(2 * size, small.getsockopt(socket.SOL_SOCKET, option))
            self.assertGreater(usual.getsockopt(socket.SOL_SOCKET, option), 2 * size)

    def test_tos(self) -> None:
        """The packets' class is set, over IPv4 and IPv6."""
        four, six = self.open(packet_tos=0x10), self.open(("::1", 1), packet_tos=0x10)
        self.assertEqual(0x10, four.getsockopt(socket.IPPROTO_IP, socket.IP_TOS))
        self.assertEqual(0x10, six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS))

    def test_mark(self) -> None:
        """The packets' mark is set, where one may."""
        try:
            sock = self.open(packet_mark=7)
        except PermissionError as exc:
            raise SkipTest("no right to mark packets") from exc
        self.assertEqual(7, sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))

    def test_local_address(self) -> None:
        """I say from where to connect: the address, the port, or both (N042)."""
        self.assertEqual("127.0.0.2", self.open(local_ip="127.0.0.2").getsockname()[0])
        for _ in range(20):
            port = self.open(local_ip="127.0.0.2").getsockname()[1]
            try:
                sock = self.open(local_port=port)
            except OSError:
                continue  # somebody else on this machine has the port, on another address
            self.assertEqual(("0.0.0.0", port), sock.getsockname())
            break
        else:
            self.fail("no port was free on all addresses")
        self.assertEqual("::1", self.open(("::1", 1), local_ip="::1").getsockname()[0])
        self.assertEqual(0, self.open().getsockname()[1])

    def test_foreign_address(self) -> None:
        """An address of somebody else's can be connected from, by who may; it has to be said (N042)."""
        options = NetVCOptions(local_ip="192.0.2.77")
        self.assertRaises(OSError, open_socket, ("127.0.0.1", 1), options)
        options.local_ip_is_foreign = True
        try:
            sock = open_socket(("127.0.0.1", 1), options)
        except OSError as exc:
            self.assertEqual((errno.EPERM, "a transparent port needs CAP_NET_ADMIN or CAP_NET_RAW"), exc.args)
        else:
            self.addCleanup(sock.close)
            self.assertEqual("192.0.2.77", sock.getsockname()[0])

    def test_failure_leaves_nothing(self) -> None:
        """A local address that is not ours is an error, and the socket does not stay behind."""
        before = open_descriptors()
        error = self.assertRaises(OSError, self.open, local_ip="192.0.2.1")
        self.assertEqual(errno.EADDRNOTAVAIL, error.errno)
        self.assertEqual(before, open_descriptors())


class ConnectTests(SynchronousTestCase):
    def test_begin(self) -> None:
        """Connecting that stands or is on its way is 0; what cannot be begun says why not."""
        with socket.create_server(("127.0.0.1", 0)) as server, open_socket(("127.0.0.1", 1), NetVCOptions()) as sock:
            self.assertEqual(0, begin_connect(sock, server.getsockname()))
        for address, number in (
            ("/nowhere/at/all", errno.ENOENT),
            ("/too/long" * 50, errno.EINVAL),
            (("255.255.255.255", 1), errno.EACCES),
        ):
            with open_socket(address, NetVCOptions()) as sock:
                self.assertIn(begin_connect(sock, address), (number, errno.ENETUNREACH))

    def test_reset_on_close(self) -> None:
        """The peer of a socket that is closed so gets a reset; one that is closed already is no error."""
        ours, theirs = tcp_pair()
        self.addCleanup(theirs.close)
        theirs.setblocking(True)
        reset_on_close(ours)
        ours.close()
        self.assertRaises(ConnectionResetError, theirs.recv, 1)
        reset_on_close(ours)

    def test_apply_to_both_kinds(self) -> None:
        """Options that only TCP has are left out where the socket is of another kind."""
        with socket.socket(socket.AF_UNIX) as sock:
            apply_options(sock, 3, 0, 0, tcp=False)
        with socket.socket() as sock:
            apply_options(sock, 3, 0, 0, tcp=True)
            self.assertEqual(1, sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


class OptionsTests(SynchronousTestCase):
    def test_names_and_addresses(self) -> None:
        """What is an address is not looked up, what is a name is."""
        for host in ("192.0.2.1", "::1", "2001:db8::1", "fe80::1%eth0"):
            self.assertTrue(is_ip(host), host)
        for host in ("localhost", "example.com", "", "192.0.2", "1.2.3.4.5", "::g"):
            self.assertFalse(is_ip(host), host)

    def test_server_name(self) -> None:
        """The name to ask an origin for can be set afterwards, and taken back."""
        options = NetVCOptions()
        self.assertIsNone(options.sni_servername)
        options.set_sni_servername("example.com")
        self.assertEqual("example.com", options.sni_servername)

    def test_frozen(self) -> None:
        """A port's options do not change under it."""
        options = AcceptOptions(local_port=1)
        self.assertRaises(FrozenInstanceError, setattr, options, "local_port", 2)

    def test_words(self) -> None:
        """A number in words."""
        self.assertEqual("Connection refused", words(errno.ECONNREFUSED))
