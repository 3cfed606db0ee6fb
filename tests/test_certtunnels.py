"""
Tests for L{atstls.edge.certtunnels}.
"""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.certtunnels import CertificateTunnels
from atstls.edge.rules import CertificateConfig
from atstls.tls.hooks import HookPoint


class Connection:
    """As much of a connection as is looked at."""

    def __init__(self, local: Any = None, name: str | None = None) -> None:
        self.local = local
        self.server_name = name
        self.passed_on = False
        self.proxy_header: Any = None
        self.told: Any = None

    def certificate_addr(self) -> Any:
        return self.told

    def get_local_addr(self) -> Any:
        return self.local

    def tunnel(self) -> None:
        self.passed_on = True


def entry(dest_ip: str | None, *names: str, action: str | None = "tunnel") -> tuple[CertificateConfig, tuple[str, ...]]:
    files = (Path(__file__),) if names else ()
    return CertificateConfig(name="x", dest_ip=dest_ip, action=action, ssl_cert_name=files), names


class CertificateTunnelsTests(SynchronousTestCase):
    """Which connections are passed on."""

    def passed_by_address(self, tunnels: CertificateTunnels, *places: Any) -> list[bool]:
        found = []
        for place in places:
            vc = Connection(place)
            tunnels.by_address(vc)
            found.append(vc.passed_on)
        return found

    def passed_by_name(self, tunnels: CertificateTunnels, *names: str | None) -> list[bool]:
        found = []
        for name in names:
            vc = Connection(name=name)
            tunnels.by_name(vc)
            found.append(vc.passed_on)
        return found

    def test_nothing_to_ask(self) -> None:
        """Where no entry says so nobody is asked; and only at the point where something can be said."""
        for entries, points in (
            ([], []),
            ([entry("192.0.2.1", "a.example", action=None)], []),
            ([entry("192.0.2.1")], [HookPoint.VCONN_START]),
            ([entry(None, "a.example")], [HookPoint.CLIENT_HELLO]),
            ([entry("192.0.2.1", "a.example")], [HookPoint.VCONN_START, HookPoint.CLIENT_HELLO]),
        ):
            self.assertEqual(points, [point for point, _ in CertificateTunnels(entries).hooks])
        points = [HookPoint.VCONN_START, HookPoint.CLIENT_HELLO]
        self.assertEqual(points, [point for point, _ in CertificateTunnels([entry("192.0.2.1")], proxied=True).hooks])

    def test_addresses(self) -> None:
        """The address with its port counts before the address alone; an address in any spelling is one (S055)."""
        tunnels = CertificateTunnels(
            [
                entry("192.0.2.1"),
                entry("192.0.2.1:8443", "a.example", action=None),
                entry("192.0.2.2:443"),
                entry("2001:db8::1"),
                entry("*", "default.example", action=None),
            ]
        )
        places: list[Any] = [("192.0.2.1", 443), ("192.0.2.2", 443), ("::ffff:192.0.2.1", 443), ("2001:db8:0::1", 1)]
        self.assertEqual([True] * 4, self.passed_by_address(tunnels, *places))
        places = [("192.0.2.1", 8443), ("192.0.2.2", 444), ("192.0.2.3", 443), "/run/socket", "", None]
        self.assertEqual([False] * 6, self.passed_by_address(tunnels, *places))

    def test_names(self) -> None:
        """A name counts before a wildcard that covers it, whichever of them is passed on (O42)."""
        tunnels = CertificateTunnels(
            [
                entry(None, "*.a.example", "b.example"),
                entry(None, "www.a.example", "*.b.example", action=None),
                entry(None, "www.b.example"),
            ]
        )
        self.assertEqual([True] * 3, self.passed_by_name(tunnels, "x.a.example", "b.example", "www.b.example"))
        self.assertEqual(
            [False] * 5,
            self.passed_by_name(tunnels, "www.a.example", "x.b.example", "a.example", "y.x.a.example", None),
        )

    def test_behind_a_load_balancer(self) -> None:
        """The address that its header tells of counts, when no name does; without a header none does."""
        tunnels = CertificateTunnels([entry("192.0.2.1"), entry(None, "a.example", action=None)], proxied=True)
        here, elsewhere = ("192.0.2.1", 443), ("192.0.2.2", 443)
        for name, header, told, expected in (
            (None, object(), here, True),
            ("b.example", object(), here, True),
            ("a.example", object(), here, False),
            (None, object(), elsewhere, False),
            (None, object(), "/run/socket", False),
            (None, None, here, False),
        ):
            vc = Connection(name=name)
            vc.proxy_header, vc.told = header, told
            tunnels.by_name(vc)
            self.assertEqual(expected, vc.passed_on, (name, told))
