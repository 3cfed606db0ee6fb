"""
How much anybody can make the program spend: memory, descriptors, processor; and that much traffic is still right.
"""

import ctypes
import ctypes.util
import hashlib
import hmac
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from tests.integration.peers import (
    ALERT,
    DATA,
    V12,
    VERSIONS,
    Backend,
    CutOff,
    Figures,
    Later,
    Plain,
    Secure,
    SharedEdgeTestCase,
    host_context,
    picky_context,
    reset,
)
from tests.integration.twistd import PATIENCE, Origin, server_context, until

FORWARD, PARTIAL, TUNNEL, ECHO = "f.example.com", "p.example.com", "t.example.com", "echo.example.com"

BLOCK = os.urandom(1_000_003)
"""Repeated, it is much data, in which nothing can be left out or change its place unseen."""

ENDS = (ConnectionError, CutOff, SSL.Error)


class SlowTestCase(SharedEdgeTestCase):
    """Many who do not read."""

    MANY = 40
    KIBIBYTES_EACH = 1024
    """What a connection may keep for somebody who does not read, both of its sides together."""

    # Small buffers in the kernel, which would otherwise take all.
    SOCKETS = "".join(
        f"sock_{which}_buffer_size_{way} = 65536\n" for which in ("recv", "send") for way in ("in", "out")
    )

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.plain = Backend()
        cls.secure = Backend(host_context(PARTIAL, TUNNEL))
        for backend in (cls.plain, cls.secure):
            backend.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            backend.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        return (
            f"[net]\n{cls.SOCKETS}[listen https]\nport = 0\n"
            f"[sni {FORWARD}]\nforward_route = 127.0.0.1:{cls.plain.port}\n"
            f"[sni {PARTIAL}]\npartial_blind_route = 127.0.0.1:{cls.secure.port}\nverify_server_policy = DISABLED\n"
            f"[sni {TUNNEL}]\ntunnel_route = 127.0.0.1:{cls.secure.port}\n"
        )

    def joined(self, route: str, version: int) -> tuple[Secure, Plain]:
        """A client and its origin, with small buffers."""
        accepting = Later((self.plain if route == FORWARD else self.secure).accept)
        sock = self.keep(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sock.connect(("127.0.0.1", self.port))
        client = Secure(sock, picky_context(version), route)
        client.shake_hands()
        return client, self.keep(accepting.result())

    fresh = 0

    def warm_up(self, figures: Figures) -> None:
        """Memory that was used once is used again, so all is compared with the program as it has started."""
        type(self).fresh = figures.kibibytes

    def _stall(self, route: str, download: bool) -> None:
        data = BLOCK * 2
        pairs = []
        for number in range(self.MANY):
            client, origin = self.joined(route, VERSIONS[number % 2])
            speaker, listener = (origin, client) if download else (client, origin)
            pairs.append((listener, Later(speaker.send, data)))
        time.sleep(0.2)
        self.rests()
        self.assertFalse(any(sending.done for _, sending in pairs))
        each = (self.figures.kibibytes - self.fresh) / self.MANY
        self.assertLess(each, self.KIBIBYTES_EACH, route)
        for listener, sending in pairs:
            self.assertTrue(listener.exactly(len(data)) == data, route)
            sending.result()


class DownloadTests(SlowTestCase):
    """Clients that stop reading cost a bounded amount each, and lose nothing when they go on."""

    def test_tunnel(self) -> None:
        """Through a tunnel."""
        self._stall(TUNNEL, True)

    def test_forward(self) -> None:
        """Of a plain origin."""
        self._stall(FORWARD, True)

    def test_partial_blind(self) -> None:
        """Of an origin that speaks TLS."""
        self._stall(PARTIAL, True)

    def test_gone(self) -> None:
        """Clients that go with everything still on its way to them free it."""
        for route in (FORWARD, PARTIAL, TUNNEL):
            for version in VERSIONS:
                client, origin = self.joined(route, version)
                sending = Later(origin.send, BLOCK * 2)
                time.sleep(0.1)
                client.close()
                with self.assertRaises(OSError):
                    sending.result()
                    origin.rest()


class UploadTests(SlowTestCase):
    """Origins that stop reading cost a bounded amount each, and lose nothing when they go on."""

    def test_tunnel(self) -> None:
        """Through a tunnel."""
        self._stall(TUNNEL, False)

    def test_forward(self) -> None:
        """To a plain origin."""
        self._stall(FORWARD, False)

    def test_partial_blind(self) -> None:
        """To an origin that speaks TLS."""
        self._stall(PARTIAL, False)

    def test_gone(self) -> None:
        """Origins that go with everything still on its way to them free it."""
        for route in (FORWARD, PARTIAL, TUNNEL):
            for version in VERSIONS:
                client, origin = self.joined(route, version)
                sending = Later(client.send, BLOCK * 2)
                time.sleep(0.1)
                origin.close()
                with self.assertRaises(ENDS):
                    sending.result()
                    client.rest()


class DescriptorTests(SharedEdgeTestCase):
    """With no more than 64 descriptors, and nothing that would limit connections before (N105)."""

    prefix = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    settings = "[net]\nconnections_throttle = 0\n"
    MANY = 100

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.echo = Origin()
        cls.secure = Backend(host_context(TUNNEL))
        return (
            f"{cls.settings}[listen https]\nport = 0\nforward_route = 127.0.0.1:{cls.echo.port}\n"
            f"[sni {TUNNEL}]\ntunnel_route = 127.0.0.1:{cls.secure.port}\n"
        )

    def _serves(self, clients: list[Secure]) -> None:
        for client in clients:
            data = os.urandom(40_000)
            client.send(data)
            self.assertEqual(data, client.exactly(len(data)))

    def _accepts_again(self) -> None:
        def comes_in() -> bool:
            client = self.picky()
            try:
                client.shake_hands()
                self._serves([client])
            except ENDS:
                return False
            return True

        until(comes_in, "a new connection", 5)

    def _crowd(self) -> list[socket.socket]:
        crowd = [self.connected() for _ in range(self.MANY)]
        # The last one is turned away.
        self.assertEqual(b"", self.last_words(crowd[-1]))
        return crowd

    def test_too_many(self) -> None:
        """Who is in is served, nothing spins, and there is room again when some have left."""
        clients = [self.client() for _ in range(5)]
        self._serves(clients)
        for _ in range(2):
            crowd = self._crowd()
            self._serves(clients)
            self.rests()
            self._serves(clients)
            for sock in crowd:
                sock.close()
            self._accepts_again()
            self._serves(clients)
        told = re.findall("cannot accept on|too many connections|descriptors are nearly used up", self.news)
        self.assertTrue(1 <= len(told) <= 3, self.news)

    def test_too_many_who_shake_hands(self) -> None:
        """Nor does it harm them when there is no descriptor left to reach an origin: the newcomer is reset."""
        clients = [self.client() for _ in range(5)]
        came = 0
        for _ in range(self.MANY):
            client = self.picky()
            try:
                client.shake_hands()
                self._serves([client])
                came += 1
            except ENDS:
                pass
        self.assertGreater(came, 3)
        self.assertLess(came, self.MANY)
        self._serves(clients)
        self.rests()
        for end in self.ends[5:]:
            end.close()
        self._accepts_again()
        self._serves(clients)

    def test_tunnels(self) -> None:
        """A tunnel that has to wait for its reader needs no descriptor that is not there."""
        pairs: list[tuple[Secure, Plain]] = []
        for number in range(6):
            accepting = Later(self.secure.accept)
            client = self.client(TUNNEL, VERSIONS[number % 2])
            pairs.append((client, self.keep(accepting.result())))
        crowd = self._crowd()
        data = BLOCK * 16
        answers = [Later(origin.send, data) for _, origin in pairs]
        time.sleep(0.3)
        self.rests()
        for (client, _), answer in zip(pairs, answers, strict=True):
            self.assertTrue(client.exactly(len(data)) == data)
            answer.result()
        for client, origin in pairs:
            client.send(b"question")
            client.end()
            self.assertEqual(b"question", origin.exactly(8))
            self.assertEqual(b"", origin.recv())
        for sock in crowd:
            sock.close()
        self._accepts_again()


class ThrottleTests(DescriptorTests):
    """With 128 descriptors, of which connections_throttle leaves half for other things."""

    prefix = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")
    settings = ""


def sealer(client: Secure) -> Callable[[int, bytes], bytes]:
    """
    What makes encrypted records of C{client} from now on, such as OpenSSL would not.

    TLS 1.2 with AES-128-GCM and SHA-256: RFC 5246, sections 5 and 6.3; RFC 5288.
    """
    connection = client.connection
    secret: Any = connection.master_key()
    seed = b"key expansion" + (connection.server_random() or b"") + (connection.client_random() or b"")
    block, a = b"", seed
    while len(block) < 40:
        a = hmac.digest(secret, a, "sha256")
        block += hmac.digest(secret, a + seed, "sha256")
    key, salt = AESGCM(block[:16]), block[32:36]
    number = 0  # that of Finished

    def seal(kind: int, data: bytes) -> bytes:
        nonlocal number
        number += 1
        explicit = struct.pack("!Q", number)
        sealed = key.encrypt(salt + explicit, data, explicit + struct.pack("!BHH", kind, 0x0303, len(data)))
        return struct.pack("!BHH", kind, 0x0303, 8 + len(sealed)) + explicit + sealed

    return seal


class KeyUpdater:
    """A TLS 1.3 client that changes its keys when it likes, which Python's bindings cannot."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        path = ctypes.util.find_library("ssl")
        assert path is not None
        lib = self._lib = ctypes.CDLL(path)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, function).restype = ctypes.c_void_p
        sock.settimeout(None)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 3, 0))
        self._sock = sock
        context = self._context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        self._ssl = ctypes.c_void_p(lib.SSL_new(context))
        lib.SSL_ctrl(self._ssl, 55, ctypes.c_long(0), name.encode())  # SSL_set_tlsext_host_name
        lib.SSL_set_fd(self._ssl, sock.fileno())
        assert lib.SSL_connect(self._ssl) == 1
        assert lib.SSL_version(self._ssl) == 0x0304

    def update(self, ask: bool) -> bool:
        """New keys; C{ask}: and the peer shall have new ones too.  False: the connection is broken."""
        self._lib.SSL_key_update(self._ssl, int(ask))
        return bool(self._lib.SSL_do_handshake(self._ssl) == 1)

    def echoed(self, data: bytes) -> bool:
        """Does C{data} come back?"""
        if self._lib.SSL_write(self._ssl, data, len(data)) != len(data):
            return False
        got = ctypes.create_string_buffer(len(data))
        return bool(self._lib.SSL_read(self._ssl, got, len(data)) == len(data) and got.raw == data)

    def reset(self) -> None:
        """Leave at once, whatever waits to be sent."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()
        self._lib.SSL_free(self._ssl)
        self._lib.SSL_CTX_free(self._context)


class FloodTests(SharedEdgeTestCase):
    """Much of what is allowed in small amounts."""

    KIBIBYTES = 4096
    """By how much memory may be larger afterwards."""

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.echo = Origin()
        return f"[listen https]\nport = 0\nforward_route = 127.0.0.1:{cls.echo.port}\n"

    def setUp(self) -> None:
        super().setUp()
        self.other = self.client()
        self._serves()
        self._kibibytes = self.figures.kibibytes

    def tearDown(self) -> None:
        self._serves()
        super().tearDown()
        self.assertLess(self.figures.kibibytes - self._kibibytes, self.KIBIBYTES)

    def _serves(self) -> None:
        began = time.monotonic()
        data = os.urandom(1000)
        self.other.send(data)
        self.assertEqual(data, self.other.exactly(1000))
        self.assertLess(time.monotonic() - began, 2)

    def _updater(self) -> KeyUpdater:
        if ctypes.util.find_library("ssl") is None:
            self.skipTest("there is no libssl")
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        updater: KeyUpdater = self.keep(KeyUpdater(sock, ECHO))
        return updater

    def test_new_keys(self) -> None:
        """A client that changes its keys all the time is served, or ended; others are served."""
        updater = self._updater()
        for number in range(20_000):
            if not updater.update(False):
                break
            if number % 5000 == 0:
                self._serves()
        else:
            self.assertTrue(updater.echoed(b"ping"))

    def test_new_keys_on_both_sides(self) -> None:
        """A client that wants new keys of us all the time, and reads what we say, is served."""
        updater = self._updater()
        for _ in range(20):
            for _ in range(30):
                self.assertTrue(updater.update(True))
            self.assertTrue(updater.echoed(b"ping"))
            self._serves()

    def test_new_keys_and_no_reading(self) -> None:
        """
        A client that wants new keys of us and never reads is ended before it costs much; or its TCP stops it before.

        Its kernel may drop what does not fit its buffer, our news of a window that is open again with it.
        """
        updater = self._updater()
        updater._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        began = time.monotonic()
        number = 0
        while updater.update(True):
            number += 1
            self.assertLess(time.monotonic() - began, 30, f"{number} updates")
        self.assertLess(self.figures.kibibytes - self._kibibytes, self.KIBIBYTES)
        updater.reset()
        until(lambda: self.figures.sockets == self._sockets + 2, "nobody but the other client and its origin")

    def _with_sealer(self) -> tuple[Secure, Callable[[int, bytes], bytes]]:
        context = picky_context(V12)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        client = Secure(self.connected(), context)
        client.shake_hands()
        return client, sealer(client)

    def _floods(self, kind: int, data: bytes) -> None:
        client, seal = self._with_sealer()
        with self.assertRaises(ENDS):
            for _ in range(200):
                client.sock.sendall(b"".join(seal(kind, data) for _ in range(500)))
                self._serves()
            client.rest()
        client.close()

    def test_empty_records(self) -> None:
        """Some records with nothing in them are passed over; an endless row of them is ended."""
        client, seal = self._with_sealer()
        client.sock.sendall(b"".join(seal(DATA, b"") for _ in range(10)) + seal(DATA, b"ping"))
        self.assertEqual(b"ping", client.exactly(4))
        client.close()
        self._floods(DATA, b"")

    def test_alerts(self) -> None:
        """A warning is passed over; an endless row of them is ended."""
        user_canceled = bytes([1, 90])
        client, seal = self._with_sealer()
        client.sock.sendall(seal(ALERT, user_canceled) + seal(DATA, b"ping"))
        self.assertEqual(b"ping", client.exactly(4))
        client.close()
        self._floods(ALERT, user_canceled)

    def test_records_of_one_byte(self) -> None:
        """A hundred thousand records with a byte each arrive, and the others are served meanwhile."""
        client, seal = self._with_sealer()
        data = BLOCK[:100_000]
        sending = Later(
            lambda: [
                client.sock.sendall(b"".join(seal(DATA, data[at : at + 1]) for at in range(start, start + 1000)))
                for start in range(0, len(data), 1000)
            ]
        )
        got = bytearray()
        while len(got) < len(data):
            got += client.recv()
            if len(got) % 10_000 < 100:
                self._serves()
        sending.result()
        self.assertTrue(got == data)

    def test_connections(self) -> None:
        """Two thousand connections that come and go at once."""
        for number in range(2000):
            sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            if number % 3:
                sock.close()
            else:
                reset(sock)
            if number % 400 == 0:
                self._serves()

    def test_aborted_handshakes(self) -> None:
        """Five hundred clients that leave when they have said hello."""
        hellos = []
        for version in VERSIONS:
            client = Secure(self.connected(), picky_context(version))
            self.assertRaises(SSL.WantReadError, client.connection.do_handshake)
            hellos.append(client.said())
        for number in range(500):
            sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            sock.sendall(hellos[number % 2])
            if number % 3 == 0:
                sock.recv(100)
            if number % 5:
                sock.close()
            else:
                reset(sock)
            if number % 100 == 0:
                self._serves()
        until(lambda: self.news.count("handshake of") >= 500, "a line for each")


class BulkTests(SharedEdgeTestCase):
    """Two hundred million bytes in each direction, all at the same time."""

    TIMES = 200

    @classmethod
    def configuration(cls, directory: Path) -> str:
        cls.digest = cls._digest_of_all()

        def serve(origin: Origin, connection: Any, kept: bytearray) -> None:
            if connection.recv(1) == b"D":
                for _ in range(cls.TIMES):
                    connection.sendall(BLOCK)
            else:
                connection.sendall(cls._digest_of(connection))
                connection.recv(1)

        cls.plain = Origin(serve)
        cls.secure = Origin(serve, context=server_context(PARTIAL, TUNNEL))
        return (
            "[listen https]\nport = 0\n"
            f"[sni {FORWARD}]\nforward_route = 127.0.0.1:{cls.plain.port}\n"
            f"[sni {PARTIAL}]\npartial_blind_route = 127.0.0.1:{cls.secure.port}\nverify_server_policy = DISABLED\n"
            f"[sni {TUNNEL}]\ntunnel_route = 127.0.0.1:{cls.secure.port}\n"
        )

    @classmethod
    def _digest_of_all(cls) -> bytes:
        digest = hashlib.sha256()
        for _ in range(cls.TIMES):
            digest.update(BLOCK)
        return digest.digest()

    @classmethod
    def _digest_of(cls, connection: Any) -> bytes:
        digest = hashlib.sha256()
        room = memoryview(bytearray(1 << 16))
        left = len(BLOCK) * cls.TIMES
        while left:
            count = connection.recv_into(room[: min(left, len(room))])
            if not count:
                break
            digest.update(room[:count])
            left -= count
        return digest.digest()

    def _download(self, route: str, version: ssl.TLSVersion) -> bytes:
        client = self.fast(route, version)
        client.sendall(b"D")
        return self._digest_of(client)

    def _upload(self, route: str, version: ssl.TLSVersion) -> bytes:
        client = self.fast(route, version)
        client.sendall(b"U")
        for _ in range(self.TIMES):
            client.sendall(BLOCK)
        return client.recv(100)

    def _together(self, routes: tuple[str, ...]) -> None:
        transfers = []
        for number, route in enumerate(routes):
            version = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)[number % 2]
            transfers += [Later(self._download, route, version), Later(self._upload, route, version)]
        for transfer in transfers:
            self.assertEqual(self.digest, transfer.result(60))

    def test_forward_and_tunnel(self) -> None:
        """Through TLS that ends here, and through a tunnel."""
        self._together((FORWARD, TUNNEL))

    def test_both_sides_encrypted(self) -> None:
        """Through TLS that ends here and begins anew."""
        self._together((PARTIAL,))
