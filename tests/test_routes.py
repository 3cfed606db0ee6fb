"""
Which way connections go: L{atstls.edge.routes}, what is built for it, and the dial.
"""

import errno
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from atstls.edge.build import Machinery, Plan, build
from atstls.edge.config import (
    CertificateConfig,
    Configuration,
    ConfigurationErrors,
    ListenConfig,
    NetConfig,
    SNIConfig,
    SSLConfig,
)
from atstls.edge.loops import loops
from atstls.edge.onward import LED_BACK_SECONDS, Onward, OnwardTLS, address_words
from atstls.edge.places import Route, RouteKind
from atstls.edge.routes import RouteAccept, RouteTable, Rule
from atstls.errors import OpenFailed
from atstls.events import (
    EVENT_ERROR,
    NET_EVENT_ACCEPT,
    NET_EVENT_OPEN,
    NET_EVENT_OPEN_FAILED,
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
)
from atstls.eventsystem.continuation import Action
from atstls.interfaces import IContinuation
from atstls.net.connection import NetVCOptions
from atstls.net.transparent import LISTENING_PORT
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, TRANSPORT_DEFAULT, UnixNetVConnection
from atstls.session.protocol import ProtocolSessionAccept
from atstls.tls import alerts
from atstls.tls.contexts import ClientVerification
from atstls.tls.hooks import HookPoint
from atstls.tls.phases import Phase
from atstls.tls.verify import VerifyPolicy, VerifyProperties
from tests.integration.twistd import write_certificate
from tests.support import HandReactor, OverBothPolls, RecordingContinuation


def forward(port: int, host: str = "127.0.0.1") -> Route:
    return Route(RouteKind.FORWARD, target=(host, port))


def tunnel(port: int, host: str = "127.0.0.1") -> Route:
    return Route(RouteKind.TUNNEL, target=(host, port))


def partial_blind(port: int, host: str = "127.0.0.1") -> Route:
    return Route(RouteKind.PARTIAL_BLIND, target=(host, port))


def rule(word: str = "", **more: Any) -> Rule:
    more.setdefault("kind", RouteKind.FORWARD)
    return Rule(word, destination=RecordingContinuation(), **more)


class FakeConnection:
    """As much of a TLS connection as a rule looks at."""

    def __init__(self, name: str | None = None, address: Any = ("192.0.2.1", 5000)) -> None:
        self.server_name = name
        self.policy: Any = "the listener's"
        self.offered: Any = None
        self.args: dict[str, Any] = {}
        self.done: list[Any] = []
        self.attributes = TRANSPORT_DEFAULT
        self.phase = Phase.OPEN
        self.traced = False
        self._address = address

        self.local: Any = ("192.0.2.80", 443)
        self.queues: list[str] = []
        self.has_room = True

    def peer_name(self) -> str:
        return "somebody"

    def get_local_addr(self) -> Any:
        return self.local

    def add_to_keep_alive_queue(self) -> None:
        self.queues.append("idle")

    def add_to_active_queue(self) -> bool:
        self.queues.append("busy")
        return self.has_room

    def get_ssl_trace(self) -> bool:
        return self.traced

    def do_io_close(self, lerrno: int) -> None:
        self.done.append(lerrno)

    def get_remote_addr(self) -> Any:
        return self._address

    def set_arg(self, key: str, value: Any) -> None:
        self.args[key] = value

    def get_arg(self, key: str) -> Any:
        return self.args.get(key)

    def refuse(self, alert: int, reason: str) -> None:
        self.done.append((alert, reason))

    def tunnel(self) -> None:
        self.done.append("tunnel")


class RouteTableTests(SynchronousTestCase):
    """Finding the rule for a name."""

    def setUp(self) -> None:
        self.table = RouteTable(
            rule("else"),
            {name: rule(name or "none") for name in ("bob.com", "www.bar.com", "*.bar.com", "*.a.bar.com", "")},
        )

    def found(self, name: str | None) -> str:
        return self.table.find(name).section

    def test_exact_wildcard_none_and_default(self) -> None:
        """The whole name counts, a star is one label, and everything else is the listener's."""
        for name, word in (
            ("bob.com", "bob.com"),
            ("notbob.com", "else"),
            ("bob.com.evil", "else"),
            ("www.bob.com", "else"),
            ("www.bar.com", "www.bar.com"),
            ("x.bar.com", "*.bar.com"),
            ("a.bar.com", "*.bar.com"),
            ("b.a.bar.com", "*.a.bar.com"),
            ("c.b.a.bar.com", "else"),
            ("bar.com", "else"),
            (".bar.com", "else"),
            ("com", "else"),
            (None, "none"),
            ("", "none"),
        ):
            self.assertEqual(word, self.found(name), name)

    def test_without_a_rule_for_no_name(self) -> None:
        """A client without a name is then one like any other."""
        self.assertEqual("else", RouteTable(rule("else"), {}).find(None).section)

    def test_a_later_change_of_the_mapping_is_not_seen(self) -> None:
        """A table does not change."""
        by_name: dict[str, Rule] = {}
        table = RouteTable(rule("else"), by_name)
        by_name["x"] = rule("x")
        self.assertEqual("else", table.find("x").section)


class PortTests(SynchronousTestCase):
    """Rules for some local ports only (A005)."""

    def setUp(self) -> None:
        self.table = RouteTable(
            rule("else"),
            {"a.com": rule("a.com"), "*.b.com": rule("*.b.com"), "c.b.com": rule("c.b.com")},
            [
                ("a.com", ((443, 443), (8000, 8009)), rule("a.com one")),
                ("a.com", ((444, 444),), rule("a.com two")),
                ("*.b.com", ((443, 443),), rule("*.b.com one")),
                ("only.com", ((443, 443),), rule("only.com")),
                ("only.b.com", ((1, 1),), rule("only.b.com")),
                ("", ((443, 443),), rule("no name")),
            ],
        )

    def test_same_name_other_port(self) -> None:
        """The rule for the port is before that for all ports, and a name before a wildcard whatever the port."""
        for name, port, word in (
            ("a.com", 443, "a.com one"),
            ("a.com", 8000, "a.com one"),
            ("a.com", 8009, "a.com one"),
            ("a.com", 8010, "a.com"),
            ("a.com", 444, "a.com two"),
            ("a.com", 442, "a.com"),
            ("x.b.com", 443, "*.b.com one"),
            ("x.b.com", 444, "*.b.com"),
            ("c.b.com", 443, "c.b.com"),
            ("only.com", 443, "only.com"),
            ("only.com", 444, "else"),
            ("only.b.com", 443, "*.b.com one"),
            ("only.b.com", 1, "only.b.com"),
            ("b.com", 443, "else"),
            (".b.com", 443, "else"),
            (None, 443, "no name"),
            (None, 444, "else"),
            ("", 443, "no name"),
        ):
            vc = FakeConnection(name)
            vc.local = ("127.0.0.1", port)
            self.assertEqual(word, self.table.find_for(vc, name).section, (name, port))
            self.table.decide(vc)
            self.assertEqual(word, vc.args["route"].section)

    def test_without_a_port(self) -> None:
        """Over a UNIX socket no rule for a port holds."""
        vc = FakeConnection()
        for vc.local in ("/run/edge", "", None):
            self.assertEqual("a.com", self.table.find_for(vc, "a.com").section)

    def test_without_a_hello(self) -> None:
        """What is not TLS is under the rule for no name, of its port."""
        for port, expected in ((443, errno.EACCES), (444, None)):
            vc = FakeConnection()
            vc.local = ("127.0.0.1", port)
            vc.attributes, vc.phase = TRANSPORT_BLIND_TUNNEL, Phase.PLAIN
            table = RouteTable(rule(), {}, [("", ((443, 443),), rule(ip_allow=(ip_network("10.0.0.0/8"),)))])
            RouteAccept(lambda table=table: table).handle_event(NET_EVENT_ACCEPT, vc)  # type: ignore[misc]
            self.assertEqual([] if expected is None else [expected], vc.done)


class DecideTests(SynchronousTestCase):
    """What the hook does with a connection whose hello was read."""

    def decide(self, found: Rule, vc: FakeConnection) -> FakeConnection:
        RouteTable(found, {}).decide(vc)
        return vc

    def test_a_rule_stays_with_its_connection(self) -> None:
        """What the rule demands of TLS is in place, and the rule is found again after the handshake."""
        policy: Any = object()
        found = rule("x", policy=policy, offered=(b"http/1.1",))
        vc = self.decide(found, FakeConnection())
        self.assertEqual((policy, (b"http/1.1",), []), (vc.policy, vc.offered, vc.done))
        RouteAccept(lambda: self.fail("asked")).handle_event(NET_EVENT_ACCEPT, vc)
        self.assertEqual([vc], found.destination.given)  # type: ignore[attr-defined]

    def test_a_tunnel(self) -> None:
        """A blind tunnel is chosen before OpenSSL has seen a byte, and has no use for a policy."""
        vc = self.decide(rule("x", kind=RouteKind.TUNNEL), FakeConnection())
        self.assertEqual(["tunnel"], vc.done)
        self.assertEqual("the listener's", vc.policy)

    def test_who_may_come_in(self) -> None:
        """An address is in a list of networks or it is not, however it is written; what has none is not."""
        found = rule("[sni x]", ip_allow=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
        for host, admitted in (
            ("192.0.2.77", True),
            ("192.0.3.1", False),
            ("::ffff:192.0.2.77", True),
            ("::ffff:192.0.3.1", False),
            ("2001:db8::5", True),
            ("fe80::1%eth0", False),
            ("what", False),
        ):
            vc = self.decide(found, FakeConnection(address=(host, 1)))
            refused = [(alerts.ACCESS_DENIED, "its address is not in ip_allow of [sni x]")]
            self.assertEqual([] if admitted else refused, vc.done, host)
            self.assertEqual(admitted, "route" in vc.args)
        for address in (None, "", "/path"):
            self.assertTrue(self.decide(found, FakeConnection(address=address)).done, address)
            self.assertFalse(self.decide(rule(), FakeConnection(address=address)).done, address)

    def test_a_tunnel_is_refused_too(self) -> None:
        """ip_allow is looked at before anything else."""
        vc = self.decide(rule(kind=RouteKind.TUNNEL, ip_allow=(ip_network("10.0.0.0/8"),)), FakeConnection())
        self.assertEqual(1, len(vc.done))
        self.assertEqual(alerts.ACCESS_DENIED, vc.done[0][0])


class RouteAcceptTests(SynchronousTestCase):
    """Giving connections away."""

    def test_interface(self) -> None:
        """It is a continuation."""
        verifyObject(IContinuation, RouteAccept(lambda: RouteTable(rule(), {})))

    def test_a_connection_that_no_hook_saw(self) -> None:
        """On a listener without TLS the table's default is asked for each time, so that it may be exchanged."""
        rules = [rule("a"), rule("b")]
        tables = [RouteTable(each, {}) for each in rules]
        accept = RouteAccept(lambda: tables.pop(0))
        for each in rules:
            vc = FakeConnection()
            accept.handle_event(NET_EVENT_ACCEPT, vc)
            self.assertEqual([vc], each.destination.given)  # type: ignore[attr-defined]

    def given(self, vc: FakeConnection, found: Rule, *, phase: Phase, decided: bool = False) -> str:
        """Who got a connection of whose bytes none are ours to decrypt."""
        vc.attributes = TRANSPORT_BLIND_TUNNEL
        vc.phase = phase
        if decided:
            vc.set_arg("route", found)
        table = RouteTable(rule(), {} if decided else {"": found})
        RouteAccept(lambda: table).handle_event(NET_EVENT_ACCEPT, vc)
        for name in ("destination", "blind"):
            if vc in getattr(getattr(found, name), "given", ()):
                return name
        self.assertEqual([errno.EACCES], vc.done)
        return "refused"

    def test_what_is_passed_on_untouched(self) -> None:
        """A tunnel goes where bytes are passed on untouched, never to who would take them for plain text."""
        for decided in (True, False):
            found = rule(blind=RecordingContinuation())
            self.assertEqual("blind", self.given(FakeConnection(), found, phase=Phase.TUNNEL, decided=decided))
            self.assertEqual("refused", self.given(FakeConnection(), rule(), phase=Phase.TUNNEL, decided=decided))

    def test_what_comes_in_clear(self) -> None:
        """It goes where TLS connections go; not if those need a certificate."""
        found = rule(blind=RecordingContinuation())
        self.assertEqual("destination", self.given(FakeConnection(), found, phase=Phase.PLAIN))
        found = rule(blind=RecordingContinuation(), in_clear=False)
        self.assertEqual("refused", self.given(FakeConnection(), found, phase=Phase.PLAIN))
        self.assertEqual("blind", self.given(FakeConnection(), found, phase=Phase.TUNNEL))

    def test_who_may_come_in_without_a_hello(self) -> None:
        """The rule for clients that send no name says from where, for these too."""
        for address, expected in (("192.0.2.1", "destination"), ("198.51.100.1", "refused")):
            found = rule(ip_allow=(ip_network("192.0.2.0/24"),), blind=RecordingContinuation())
            self.assertEqual(expected, self.given(FakeConnection(address=(address, 1)), found, phase=Phase.PLAIN))

    def test_counted(self) -> None:
        """Where we speak HTTP one is idle until there is a request; of others nobody knows, so they are busy."""
        for kind in RouteKind:
            found = rule(kind=kind)
            vc = FakeConnection()
            RouteAccept(lambda found=found: RouteTable(found, {})).handle_event(NET_EVENT_ACCEPT, vc)  # type: ignore[misc]
            self.assertEqual(["idle" if kind in (RouteKind.SITE, RouteKind.WELCOME) else "busy"], vc.queues, kind)
            self.assertEqual([vc], found.destination.given)  # type: ignore[attr-defined]

    def test_too_many(self) -> None:
        """Nothing is done for one that is too many: above all, nobody is dialled."""
        vc = FakeConnection()
        vc.has_room = False
        found = rule()
        RouteAccept(lambda: RouteTable(found, {})).handle_event(NET_EVENT_ACCEPT, vc)
        self.assertEqual(([errno.EBUSY], []), (vc.done, found.destination.given))  # type: ignore[attr-defined]

    def test_a_port_that_is_lost(self) -> None:
        """Its owner has said so already; anything else would be a bug, and is told."""
        accept = RouteAccept(lambda: self.fail("asked"))
        accept.handle_event(EVENT_ERROR, OSError())
        accept.handle_event(VC_EVENT_EOS, None)


class LoopTests(SynchronousTestCase):
    """Routes that lead back."""

    def found(self, *listens: ListenConfig, snis: tuple[SNIConfig, ...] = ()) -> list[str]:
        return [f"{place}: {wrong}" for place, wrong in loops(listens, snis)]

    def listen(self, name: str, port: int | None, interface: str = "127.0.0.1", **more: Any) -> ListenConfig:
        return ListenConfig(name=name, port=port, interface=interface, **more)

    def test_to_itself(self) -> None:
        """By its address, by localhost, by any address of this machine when it listens on all."""
        for interface, host in (
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "localhost"),
            ("127.0.0.1", "0.0.0.0"),
            ("0.0.0.0", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.9"),
            ("0.0.0.0", "localhost"),
            ("::", "127.0.0.1"),
        ):
            for key in ("forward_route", "tunnel_route", "partial_blind_route"):
                kind = {"forward_route": forward, "tunnel_route": tunnel, "partial_blind_route": partial_blind}[key]
                listen = self.listen("a", 8443, interface, **{key: kind(8443, host)})
                self.assertEqual(
                    [f"[listen a] {key}: leads back to this listener"], self.found(listen), (interface, host)
                )

    def test_elsewhere(self) -> None:
        """Another port, another address and a name are no loop that could be seen; nor is a port that is not known."""
        for interface, host, port in (
            ("127.0.0.1", "127.0.0.1", 8444),
            ("127.0.0.1", "127.0.0.2", 8443),
            ("127.0.0.1", "::1", 8443),
            ("0.0.0.0", "192.0.2.1", 8443),
            ("0.0.0.0", "2001:db8::1", 8443),
            ("0.0.0.0", "example.com", 8443),
            ("192.0.2.1", "0.0.0.0", 8443),
            ("192.0.2.1", "localhost", 8443),
        ):
            self.assertEqual([], self.found(self.listen("a", 8443, interface, forward_route=forward(port, host))))
        self.assertEqual([], self.found(self.listen("a", 0, forward_route=forward(1))))

    def test_over_another(self) -> None:
        """Two listeners that send each other their connections; and one that sends to them is not to blame."""
        self.assertEqual(
            [
                "[listen a] forward_route: leads back to this listener by way of [listen b]",
                "[listen b] forward_route: leads back to this listener by way of [listen a]",
            ],
            self.found(
                self.listen("a", 1, forward_route=forward(2)),
                self.listen("b", 2, forward_route=forward(1)),
                self.listen("c", 3, forward_route=forward(1)),
            ),
        )

    def test_one_after_the_other(self) -> None:
        """TLS ends at the first, and a second one serves: that is no loop."""
        self.assertEqual([], self.found(self.listen("a", 1, forward_route=forward(2)), self.listen("b", 2)))

    def test_unix_sockets(self) -> None:
        """A path is compared as a path."""
        route = Route(RouteKind.FORWARD, path=Path("/run/a"))
        listen = ListenConfig(name="a", unix=Path("/run/a"), forward_route=route)
        self.assertEqual(["[listen a] forward_route: leads back to this listener"], self.found(listen))
        self.assertEqual([], self.found(ListenConfig(name="a", unix=Path("/run/b"), forward_route=route)))

    def test_rules(self) -> None:
        """A rule holds for all listeners with TLS, so what leads to one of them leads back to the rule."""
        snis = (
            SNIConfig(pattern="a.com", tunnel_route=tunnel(1)),
            SNIConfig(pattern="", partial_blind_route=partial_blind(1)),
            SNIConfig(pattern="b.com", forward_route=forward(1)),
            SNIConfig(pattern="c.com", tunnel_route=tunnel(2)),
        )
        self.assertEqual(
            [
                "[sni a.com] tunnel_route: leads back to [listen a], for which this rule holds as well",
                "[sni] partial_blind_route: leads back to [listen a], for which this rule holds as well",
            ],
            self.found(
                self.listen("a", 1), self.listen("b", 2, flags=frozenset(["plain"])), snis=snis
            ),
        )  # fmt: skip


class BuildTests(SynchronousTestCase):
    """From a configuration to what serves it."""

    def setUp(self) -> None:
        self.machinery = Machinery(HandReactor())
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)

    def plan(self, *listens: ListenConfig, **more: Any) -> Plan:
        return build(Configuration(listens=listens or (self.listen(),), **more), self.machinery)

    def listen(self, **more: Any) -> ListenConfig:
        return ListenConfig(name=more.pop("name", "https"), port=0, **more)

    def certificate(self, stem: str, *names: str, **more: Any) -> CertificateConfig:
        write_certificate(self.directory, stem, *names)
        path = self.directory / stem
        return CertificateConfig(
            name=stem,
            ssl_cert_name=(path.with_suffix(".pem"),),
            ssl_key_name=(path.with_suffix(".key"),),
            **more,
        )

    def offered(self, name: str | None = None, *snis: SNIConfig, **listen: Any) -> tuple[bytes, ...]:
        return self.plan(self.listen(**listen), snis=snis).listeners[0].table.find(name).offered

    def test_the_default(self) -> None:
        """With nothing configured it is the welcome page, under a certificate for this host that is warned of."""
        plan = self.plan(ListenConfig(name="https", port=8443))
        (listener,) = plan.listeners
        default = listener.table.default
        self.assertEqual((RouteKind.WELCOME, (b"h2", b"http/1.1")), (default.kind, default.offered))
        self.assertEqual(1, len(plan.factories))
        assert default.policy is not None
        table = default.policy.certificates
        self.assertIsNotNone(table.default)
        self.assertIs(table.default, table.find_by_name("localhost"))
        self.assertEqual(
            [
                "built-in default: there is no [certificate], so one that nobody trusts was made for localhost, "
                "127.0.0.1"
            ],
            list(plan.warnings),
        )

    def test_no_certificate_for_plain_listeners(self) -> None:
        """Where no TLS is spoken nothing is made up."""
        plan = self.plan(self.listen(flags=frozenset(["plain"])))
        self.assertEqual((), plan.warnings)
        self.assertIsNone(plan.listeners[0].table.default.policy)

    def test_the_names_of_a_made_up_certificate(self) -> None:
        """All that the configuration tells of how clients may call us."""
        plan = self.plan(
            ListenConfig(name="a", port=1, interface="::"),
            ListenConfig(name="b", port=1, interface="192.0.2.1"),
            ListenConfig(name="c", unix=Path("x")),
            snis=(SNIConfig(pattern="*.example.com"), SNIConfig(pattern="")),
        )
        self.assertTrue(
            plan.warnings[0].endswith(" localhost, 127.0.0.1, ::1, 192.0.2.1, *.example.com"), plan.warnings
        )

    def test_the_first_certificate_is_the_default(self) -> None:
        """Unless another one says that it is."""
        one, two = self.certificate("one", "one.example.com"), self.certificate("two", "two.example.com")
        star = self.certificate("star", "star.example.com", dest_ip="*")
        for certificates, name in (((one, two), "one"), ((two, one), "two"), ((one, star), "star")):
            policy = self.plan(certificates=certificates).listeners[0].table.default.policy
            assert policy is not None
            table = policy.certificates
            self.assertIs(table.find_by_name(f"{name}.example.com"), table.default)

    def test_two_certificates_for_one_name(self) -> None:
        """The first one serves it, and the log says which name the other one has in vain; once."""
        plan = self.plan(
            self.listen(name="a"),
            self.listen(name="b"),
            certificates=(self.certificate("one", "x.example.com"), self.certificate("two", "x.example.com")),
        )
        self.assertEqual(
            ("built-in default: [certificate two]: another certificate before it serves x.example.com",), plan.warnings
        )

    def test_versions_of_a_rule(self) -> None:
        """A rule with versions of its own has a policy of its own, and so tickets of its own; others share one."""
        plan = self.plan(
            snis=(
                SNIConfig(pattern="a", valid_tls_version_min_in="TLSv1.3"),
                SNIConfig(pattern="b", valid_tls_version_min_in="TLSv1.3"),
                SNIConfig(pattern="c", http2=False),
            )
        )
        table = plan.listeners[0].table
        a, b, c = (table.find(name).policy for name in "abc")
        self.assertIs(a, b)
        self.assertIs(c, table.default.policy)
        self.assertIsNot(a, c)
        assert a is not None and c is not None
        self.assertIsNot(a.front, c.front)

    def test_listeners_do_not_share_sessions(self) -> None:
        """What was earned at one port is no pass for another."""
        one, two = (
            each.table.default.policy for each in self.plan(self.listen(name="a"), self.listen(name="b")).listeners
        )
        assert one is not None and two is not None
        self.assertIsNot(one.front, two.front)

    def test_who_passes_on_untouched(self) -> None:
        """Where a route leads to another host that host gets such bytes, over TCP and nothing else."""
        for route, blind in (
            ({"forward_route": forward(1)}, True),
            ({"tunnel_route": tunnel(1)}, True),
            ({"partial_blind_route": partial_blind(1)}, True),
            ({}, False),
        ):
            default = self.plan(self.listen(**route)).listeners[0].table.default
            self.assertEqual(blind, type(default.blind) is Onward, route)
            self.assertEqual("partial_blind_route" in route, default.blind is not default.destination and blind)
            if blind:
                assert isinstance(default.blind, Onward)
                self.assertEqual(("127.0.0.1", 1), default.blind.address)

    def test_hooks(self) -> None:
        """Those of all listeners come before a listener's own; those towards the next host go with its policy."""
        ssl = SSLConfig(hook_client_hello=("os:getpid",), hook_outbound_start=("os:getpid",))
        plan = self.plan(
            self.listen(name="a", hook_client_hello=("os:getppid",), hook_cert=("os:getuid",)),
            self.listen(name="b", forward_route=forward(1)),
            self.listen(name="c", partial_blind_route=partial_blind(1), hook_outbound_close=("os:getuid",)),
            self.listen(name="d", partial_blind_route=partial_blind(1), flags=frozenset(["plain"])),
            ssl=ssl,
        )
        a, b, c, d = plan.listeners
        first = (HookPoint.CLIENT_HELLO, os.getpid)
        self.assertEqual((first, (HookPoint.CLIENT_HELLO, os.getppid), (HookPoint.CERT, os.getuid)), a.hooks)
        self.assertEqual((first,), b.hooks)
        outward = []
        for plan_of in (c, d):
            destination = plan_of.table.default.destination
            assert isinstance(destination, OnwardTLS)
            hooks = destination.policies[None].hooks
            assert hooks is not None
            outward.append((hooks.at(HookPoint.OUTBOUND_START), hooks.at(HookPoint.OUTBOUND_CLOSE)))
        self.assertEqual([((os.getpid,), (os.getuid,)), ((os.getpid,), ())], outward)

    def test_a_hook_that_has_gone(self) -> None:
        """What was there when the file was read, and is not any more, is a line like every other mistake."""
        with attrs.validators.disabled():
            listen = self.listen(hook_cert=("os:no_such",))
        errors = self.assertRaises(ConfigurationErrors, self.plan, listen)
        self.assertEqual(["built-in default: [listen https] hook.cert: module os has no no_such"], errors.lines)

    def test_protocols_of_a_page(self) -> None:
        """A page is served over what is configured, in that order, as far as pages are."""
        self.assertEqual((b"http/1.1", b"h2"), self.offered(alpn=(b"http/1.1", b"h2")))
        self.assertEqual((b"h2",), self.offered(alpn=(b"foo", b"h2")))
        self.assertEqual((), self.offered(alpn=()))

    def test_protocols_of_a_rule(self) -> None:
        """http2 takes h2 away, or puts it in front where it is missing."""
        off, on = SNIConfig(pattern="x", http2=False), SNIConfig(pattern="x", http2=True)
        self.assertEqual((b"http/1.1",), self.offered("x", off))
        self.assertEqual((b"h2", b"http/1.1"), self.offered("x", on))
        self.assertEqual((b"h2", b"http/1.1"), self.offered("x", on, alpn=(b"http/1.1",)))

    def test_protocols_that_go_on(self) -> None:
        """An origin is spoken to in h2 only if the client knows nothing else, or the operator says that it is right."""
        for route in ({"forward_route": forward(1)}, {"partial_blind_route": partial_blind(1)}):
            self.assertEqual((b"http/1.1", b"h2"), self.offered(**route))
            self.assertEqual((b"h2", b"http/1.1"), self.offered("x", SNIConfig(pattern="x", http2=True, **route)))
            self.assertEqual((b"http/1.1",), self.offered("x", SNIConfig(pattern="x", http2=False, **route)))
            self.assertEqual((b"foo",), self.offered(alpn=(b"foo",), **route))

    def test_a_rule_without_a_route(self) -> None:
        """It goes the listener's way, to the listener's destination."""
        table = self.plan(self.listen(forward_route=forward(1)), snis=(SNIConfig(pattern="x"),)).listeners[0].table
        self.assertIs(table.default.destination, table.find("x").destination)
        self.assertEqual("[sni x]", table.find("x").section)

    def test_destinations(self) -> None:
        """Each kind of route has the destination that it should have."""
        site = Route(RouteKind.SITE, path=self.directory)
        factory = Route(RouteKind.FACTORY, factory=f"{__name__}:FACTORY")
        for listen, kind in (
            (self.listen(), ProtocolSessionAccept),
            (self.listen(site=site), ProtocolSessionAccept),
            (self.listen(factory=factory), ProtocolSessionAccept),
            (self.listen(forward_route=forward(1)), Onward),
            (self.listen(tunnel_route=tunnel(1)), Onward),
            (self.listen(partial_blind_route=partial_blind(1, "example.com")), OnwardTLS),
        ):
            destination = self.plan(listen).listeners[0].table.default.destination
            self.assertIs(kind, type(destination))
            verifyObject(IContinuation, destination)

    def test_the_kernel_may_carry_what_is_plain(self) -> None:
        """Without TLS on either side nobody here has to see the bytes."""
        for flag, blind in (("plain", True), ("ssl", False)):
            plan = self.plan(self.listen(flags=frozenset([flag]), forward_route=forward(1)))
            onward: Any = plan.listeners[0].table.default.destination
            self.assertEqual(blind, onward.blind)

    def test_factories(self) -> None:
        """A factory, a callable that makes one, one that fails, and one that makes something else."""

        def listen(name: str) -> ListenConfig:
            return self.listen(name=name, factory=Route(RouteKind.FACTORY, factory=f"{__name__}:{name}"))

        self.assertEqual((FACTORY,), self.plan(listen("FACTORY")).factories)
        self.assertIs(self.machinery.reactor, self.plan(listen("make")).factories[0].reactor)
        with self.assertRaises(ConfigurationErrors) as caught:
            with attrs.validators.disabled():  # it has gone since the configuration was read
                gone = listen("nothing")
            self.plan(listen("broken"), listen("number"), gone)
        name = __name__
        self.assertEqual(
            [
                f"built-in default: [listen broken] factory: {name}:broken failed: KeyError: 'x'",
                f"built-in default: [listen number] factory: {name}:number made '3', allowed: a protocol factory",
                f"built-in default: [listen nothing] factory: module {name} has no nothing",
            ],
            caught.exception.lines,
        )

    def test_all_that_is_wrong(self) -> None:
        """Loops and settings that OpenSSL does not take are told together, each once, by section."""
        with self.assertRaises(ConfigurationErrors) as caught:
            build(
                Configuration(
                    listens=(
                        ListenConfig(name="a", port=1, forward_route=forward(1)),
                        ListenConfig(name="b", port=2),
                    ),
                    snis=(SNIConfig(pattern="x", valid_tls_version_min_in="TLSv1.3"),),
                    ssl=SSLConfig(server_version_max="TLSv1.2"),
                ),
                self.machinery,
                "tap.cfg",
            )
        self.assertEqual(
            [
                "tap.cfg: [listen a] forward_route: leads back to this listener, allowed: another host or port",
                "tap.cfg: [sni x]: version_min TLSv1.3 is newer than version_max TLSv1.2: no version is left",
            ],
            caught.exception.lines,
        )

    def test_a_certificate_that_has_gone(self) -> None:
        """A file that was there when the configuration was read, and is not any more, is told too."""
        certificate = self.certificate("one", "one.example.com")
        (self.directory / "one.key").unlink()
        with self.assertRaises(ConfigurationErrors) as caught:
            self.plan(certificates=(certificate,))
        self.assertIn("built-in default: [certificate one]: ", caught.exception.lines[0])

    def test_verification_of_clients(self) -> None:
        """[ssl] says it for all, a rule for one name; who needs a certificate cannot come in clear."""
        write_certificate(self.directory, "ca", "ca.example.com")
        authorities = self.directory / "ca.pem"
        table = (
            self.plan(
                snis=(
                    SNIConfig(pattern="none", verify_client=ClientVerification.NONE),
                    SNIConfig(pattern="moderate", verify_client=ClientVerification.OPTIONAL),
                    SNIConfig(pattern="same"),
                ),
                ssl=SSLConfig(client_certification_level=2, ca_cert_filename=authorities),
            )
            .listeners[0]
            .table
        )
        modes = {}
        for name in ("none", "moderate", "same", "other"):
            found = table.find(name)
            assert found.policy is not None
            modes[name] = (found.policy.front.get_verify_mode(), found.in_clear)
        required = SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        self.assertEqual(
            {
                "none": (SSL.VERIFY_NONE, True),
                "moderate": (SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, True),
                "same": (required, False),
                "other": (required, False),
            },
            modes,
        )
        self.assertIs(table.find("same").policy, table.default.policy)

    def test_a_rules_own_certificate_for_origins(self) -> None:
        """It takes the place of the one that [ssl] has, and destinations with different ones are not shared."""
        write_certificate(self.directory, "own", "client.example.com")
        plan = self.plan(
            snis=(
                SNIConfig(
                    pattern="a",
                    partial_blind_route=partial_blind(1),
                    client_cert=self.directory / "own.pem",
                    client_key=self.directory / "own.key",
                ),
                SNIConfig(pattern="b", partial_blind_route=partial_blind(1)),
            )
        )
        a, b = (plan.listeners[0].table.find(name).destination for name in "ab")
        assert isinstance(a, OnwardTLS) and isinstance(b, OnwardTLS)
        self.assertIsNot(a.policies[None], b.policies[None])

    def test_verification_of_origins(self) -> None:
        """What [ssl] says of origins holds, and what a rule says holds more."""
        write_certificate(self.directory, "own", "client.example.com")
        plan = self.plan(
            snis=(
                SNIConfig(pattern="a", partial_blind_route=partial_blind(1)),
                SNIConfig(
                    pattern="b",
                    partial_blind_route=partial_blind(1, "example.com"),
                    verify_server_policy=VerifyPolicy.DISABLED,
                    verify_server_properties=VerifyProperties.NAME,
                ),
            ),
            ssl=SSLConfig(
                client_verify_server_policy=VerifyPolicy.PERMISSIVE,
                client_cert_filename=self.directory / "own.pem",
                client_private_key_filename=self.directory / "own.key",
            ),
            net=NetConfig(connect_timeout=7),
        )
        table = plan.listeners[0].table
        a: Any = table.find("a").destination
        b: Any = table.find("b").destination
        self.assertEqual((7, 7), (a.connect_seconds, a.policies[None].handshake_timeout_seconds))
        self.assertEqual({None, b"h2", b"http/1.1"}, set(a.policies))
        self.assertEqual(
            (VerifyPolicy.PERMISSIVE, VerifyProperties.ALL), (a.policies[None].verify, a.policies[None].properties)
        )
        self.assertEqual(
            (VerifyPolicy.DISABLED, VerifyProperties.NAME), (b.policies[None].verify, b.policies[None].properties)
        )
        self.assertEqual(("127.0.0.1", "example.com"), (a.name, b.name))


class _Made(Factory):
    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor


FACTORY = Factory()
make = _Made


def broken(reactor: Any) -> Any:
    raise KeyError("x")


def number(reactor: Any) -> Any:
    return 3


@implementer(IContinuation)
class FakeProcessor:
    """Connects when the test says so."""

    def __init__(self, nh: Any = None) -> None:
        self.nh = nh
        self.asked: list[Any] = []
        self.cancelled = 0

    def connect_s(self, cont: Any, address: Any, timeout: float, options: Any) -> Action:
        self.asked.append((address, timeout, options))
        self.cont = cont

        def count() -> None:
            self.cancelled += 1

        return Action(cont, count)


class OnwardTests(OverBothPolls):
    """Connections that go on to another host."""

    def setUp(self) -> None:
        super().setUp()
        self.processor: Any = FakeProcessor(self.handler)
        self.handler.ports.add(443)

    def dial(self, **more: Any) -> Any:
        vc, self.client = self.connection()
        onward = Onward("[sni x] forward_route", self.processor, ("192.0.2.1", 80), NetVCOptions(), 7, 5, **more)
        onward.handle_event(NET_EVENT_ACCEPT, vc)
        return vc

    def test_joined(self) -> None:
        """The host is dialled once, and then bytes go both ways and ends with them."""
        vc = self.dial()
        self.client.send(b"early")
        self.reactor.settle()
        self.assertEqual([(("192.0.2.1", 80), 7)], [asked[:2] for asked in self.processor.asked])
        origin, other = self.connection()
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.reactor.settle()
        self.assertEqual(b"early", other.recv(10))
        other.send(b"answer")
        other.close()
        self.reactor.settle()
        self.assertEqual(b"answer", self.client.recv(10))
        self.assertEqual(b"", self.client.recv(10))
        self.client.close()
        self.reactor.settle()
        self.assertTrue(vc.closed and origin.closed)
        self.assertEqual(TRANSPORT_DEFAULT, vc.attributes)

    def test_blind(self) -> None:
        """What nobody looks at may be carried by the kernel."""
        self.assertEqual(TRANSPORT_BLIND_TUNNEL, self.dial(blind=True).attributes)

    def test_not_to_be_had(self) -> None:
        """The connection is closed with the reason."""
        vc = self.dial()
        self.processor.cont.handle_event(NET_EVENT_OPEN_FAILED, OpenFailed(errno.ECONNREFUSED))
        self.assertEqual((-1, errno.ECONNREFUSED), (vc.closed, vc.lerrno))

    def test_time_is_up_first(self) -> None:
        """A connection whose time is up while it waits calls the dial off."""
        vc = self.dial()
        vc.main_event(VC_EVENT_ACTIVE_TIMEOUT)
        self.assertEqual(1, self.processor.cancelled)
        self.assertTrue(vc.closed)

    def test_closed_meanwhile(self) -> None:
        """A host that answers too late is let go of."""
        vc = self.dial()
        vc.do_io_close()
        origin, other = self.connection()
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.reactor.settle()
        self.assertEqual(b"", other.recv(10))
        self.assertTrue(origin.closed)

    def test_back_to_where_it_came_in(self) -> None:
        """An origin that is our own listening address is let go of, and the client reset."""
        vc = self.dial()
        vc.set_local_addr(("192.0.2.9", 443))
        origin, _ = self.connection()
        origin.set_remote_addr(("192.0.2.9", 443))
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.assertEqual((-1, errno.EPROTO), (vc.closed, vc.lerrno))
        self.assertEqual(1, origin.closed)

    def test_no_port_of_ours(self) -> None:
        """Nobody is asked where the client came in, when the origin's port is none that anybody listens on here."""
        vc = self.dial()
        vc.set_local_addr(("192.0.2.9", 8080))
        origin, _ = self.connection()
        origin.set_remote_addr(("192.0.2.9", 8080))
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.assertEqual((0, 0), (vc.closed, origin.closed))
        transparent = self.dial()
        transparent.set_local_addr(("192.0.2.9", 8080))  # It was meant for somebody else's port.
        transparent.set_arg(LISTENING_PORT, 443)
        origin, _ = self.connection()
        origin.set_remote_addr(("192.0.2.9", 8080))
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.assertEqual((-1, 1), (transparent.closed, origin.closed))

    def test_what_was_dialled_then(self) -> None:
        """A route that has led back dials nobody for a connection of our own, for a while; for others it does."""
        onward = Onward("[listen x] forward_route", self.processor, ("name", 443), NetVCOptions())

        def came(remote: Any, local: Any = ("192.0.2.9", 443), onward: Onward = onward) -> bool:
            """Is anybody dialled for it?"""
            vc, _ = self.connection()
            vc.set_local_addr(local)
            vc.set_remote_addr(remote)
            before = len(self.processor.asked)
            onward.handle_event(NET_EVENT_ACCEPT, vc)
            dialled = len(self.processor.asked) > before
            self.assertEqual((0, 0) if dialled else (-1, errno.ELOOP), (vc.closed, vc.lerrno))
            return dialled

        self.assertTrue(came(("192.0.2.9", 5000)))
        self.assertTrue(came(("198.51.100.1", 5000)))
        origin, _ = self.connection()
        origin.set_remote_addr(("192.0.2.9", 443))
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.assertFalse(came(("192.0.2.9", 5000)))
        self.assertTrue(came(("198.51.100.1", 5000)))
        self.assertFalse(came("", "/run/x"))
        self.reactor.advance(LED_BACK_SECONDS)
        self.assertFalse(came(("192.0.2.9", 5000)))
        self.reactor.advance(1)
        self.assertTrue(came(("192.0.2.9", 5000)))
        self.assertTrue(came("", "/run/x"))
        # Where the other host sees the client's address, it is not ours by which one of our own is known.
        onward = Onward("[listen x] forward_route", self.processor, ("name", 443), NetVCOptions(), as_client=True)
        self.assertTrue(came(("198.51.100.1", 5000), onward=onward))
        origin, _ = self.connection()
        origin.set_remote_addr(("192.0.2.9", 443))
        self.processor.cont.handle_event(NET_EVENT_OPEN, origin)
        self.assertFalse(came(("198.51.100.1", 5000), onward=onward))

    def test_addresses_as_written(self) -> None:
        """The log calls a host what the configuration calls it."""
        self.assertEqual("unix:/x", address_words("/x"))
        self.assertEqual("example.com:1", address_words(("example.com", 1)))
        self.assertEqual("[::1]:1", address_words(("::1", 1)))


globals().update(OnwardTests.make_test_case_classes())


class OnwardTLSTests(SynchronousTestCase):
    """What is asked of the other host's TLS."""

    def setUp(self) -> None:
        policies: Any = {None: "none", b"h2": "h2", b"http/1.1": "http/1.1"}
        processor: Any = FakeProcessor()
        self.onward = OnwardTLS("", processor, ("x", 1), NetVCOptions(), policies=policies, name="x")

    def connection(self, name: str | None, protocol: bytes | None) -> Any:
        vc: Any = FakeConnection(name, None)
        vc.negotiated_protocol = protocol
        vc.get_local_addr = lambda: None
        return vc

    def test_options(self) -> None:
        """The client's name or else the route's, and the protocol that was agreed upon with the client."""
        for name, protocol, expected in (
            ("a.com", b"h2", ("a.com", "h2")),
            (None, None, ("x", "none")),
            (None, b"foo", ("x", "none")),
        ):
            options = self.onward.options_for(self.connection(name, protocol))
            self.assertEqual(expected, (options.sni_servername, options.tls))
        self.assertIsNone(self.onward.options.sni_servername)
        plain: Any = UnixNetVConnection.__new__(UnixNetVConnection)
        options = self.onward.options_for(plain)
        self.assertEqual(("x", None), (options.sni_servername, options.origin_trace))

    def test_trace(self) -> None:
        """What is said for a client that is traced is traced too, and says for whom (S137)."""
        vc = self.connection("a.com", None)
        self.assertIsNone(self.onward.options_for(vc).origin_trace)
        vc.traced = True
        self.assertEqual("somebody", self.onward.options_for(vc).origin_trace)

    def test_objections(self) -> None:
        """Only h2 has to be agreed upon with the other host as well."""
        for ours, theirs, well in (
            (b"h2", b"h2", True),
            (b"h2", None, False),
            (b"http/1.1", None, True),
            (None, None, True),
        ):
            objection = self.onward.objection(self.connection(None, ours), self.connection(None, theirs))
            self.assertEqual(well, objection is None, (ours, theirs))
