"""
Tests for L{atstls.edge.variables}: hosts and ports that are known only when the connection has come (A004, A024).
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.onward import Onward, address_words
from atstls.edge.places import PORT_VARIABLES
from atstls.edge.variables import NoAddress, VariableAddress
from atstls.net.connection import NetVCOptions
from atstls.net.proxyheader import ProxyHeader

INBOUND, PROXIED = PORT_VARIABLES


class Client:
    """As much of a connection as is asked."""

    def __init__(self, name: str | None = None, local: Any = ("192.0.2.1", 443), meant: Any = None) -> None:
        self.server_name = name
        self._local = local
        self.proxy_header = None if meant is None else ProxyHeader(2, ("192.0.2.9", 1), meant)

    def get_local_addr(self) -> Any:
        return self._local


class VariableTests(SynchronousTestCase):
    def refused(self, address: VariableAddress, vc: Client, words: str) -> None:
        self.assertIn(words, str(self.assertRaises(NoAddress, address.of, vc)))

    def test_label(self) -> None:
        """What the star stands for, wherever it is wanted, and however often."""
        for host, name, expected in (
            ("$1.internal", "www.example.com", "www.internal"),
            ("x-$1.internal", "www.example.com", "x-www.internal"),
            ("$1.$1.internal", "a.example.com", "a.a.internal"),
            ("$1", "web.example.com", "web"),
            ("$1.internal", "xn--bcher-kva.example.com", "xn--bcher-kva.internal"),
        ):
            self.assertEqual((expected, 80), VariableAddress(host, 80).of(Client(name)))

    def test_what_is_no_host(self) -> None:
        """Of a name that is none no host is made, nor an address of a number."""
        for name in ("", None, "-.example.com", "a_b c.example.com", "$1.example.com", "a/b.example.com"):
            self.refused(VariableAddress("$1.internal", 80), Client(name), "no host can be made")
        for host, name in (("$1", "2130706433.x"), ("$1", "0x7f000001.x"), ("127.$1", "1.x"), ("$1", "127.x")):
            self.refused(VariableAddress(host, 80), Client(name), "")

    def test_port(self) -> None:
        """The port that the client has come to, or that he meant; if it is among those that are allowed."""
        allowed = ((443, 443), (8000, 8009))
        for port, ok in ((443, True), (444, False), (8000, True), (8009, True), (8010, False), (22, False)):
            for address, vc in (
                (VariableAddress("h", INBOUND, allowed), Client(local=("192.0.2.1", port))),
                (VariableAddress("h", PROXIED, allowed), Client(meant=("198.51.100.7", port))),
            ):
                if ok:
                    self.assertEqual(("h", port), address.of(vc))
                else:
                    self.refused(address, vc, f"port {port} is not in connect_ports")

    def test_no_port(self) -> None:
        """Over a UNIX socket there is none, nor without a header, or with one that says nothing."""
        for local in ("/run/x", "", None):
            self.refused(VariableAddress("h", INBOUND, ((1, 65535),)), Client(local=local), "there is no {inbound")
        vc = Client()
        self.refused(VariableAddress("h", PROXIED, ((1, 65535),)), vc, "there is no {proxy_protocol_port} for it")
        vc.proxy_header = ProxyHeader(1)
        self.refused(VariableAddress("h", PROXIED, ((1, 65535),)), vc, "there is no {proxy_protocol_port} for it")

    def test_back_to_where_it_came_in(self) -> None:
        """To go on to the same port of this very machine would be to come again."""
        address = VariableAddress("127.0.0.1", INBOUND, ((443, 443),))
        self.refused(address, Client(local=("127.0.0.1", 443)), "where the connection came in")
        address = VariableAddress("192.0.2.1", INBOUND, ((443, 443),))
        self.assertEqual(("192.0.2.1", 443), address.of(Client(local=("127.0.0.1", 443))))

    def test_words(self) -> None:
        """The log calls it what the configuration does."""
        self.assertEqual("$1.a:{inbound_local_port}", address_words(VariableAddress("$1.a", INBOUND)))
        processor: Any = None
        onward = Onward("x", processor, VariableAddress("$1.a", 80), NetVCOptions())
        self.assertEqual(("b.a", 80), onward.address_for(Client("b.example")))
