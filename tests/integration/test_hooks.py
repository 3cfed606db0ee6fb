"""
An operator's own code, asked about connections: C{hook.*} in C{tap.cfg}, from outside.
"""

import os
import re
import sqlite3
import ssl
import textwrap
import time
from contextlib import closing
from typing import Any

from tests.integration.twistd import ROOT, EdgeTestCase, Twistd, server_context, until

HOOKS = """
from twisted.internet import reactor
from twisted.internet.task import deferLater

from atstls.tls import alerts


def note(what, vc):
    with open("notes", "a") as file:
        print(what, vc.server_name, file=file)


def everywhere(vc): note("everywhere", vc)
def start(vc): note("start", vc)
def hello(vc): note("hello", vc)
def name(vc): note("name", vc)
def cert(vc): note("cert", vc)
def verify(vc): note("verify", vc)
def close(vc): note("close", vc)
def out_start(vc): note("out start", vc)
def out_verify(vc): note("out verify", vc)
def out_close(vc): note("out close", vc)


async def slow(vc):
    await deferLater(reactor, 0.5)
    note("slow", vc)


def from_a_thread(vc):
    handle = vc.park()
    reactor.callInThread(handle.reenable)
    return handle


def refuse(vc):
    if vc.server_name == "bad.example.com":
        vc.refuse(alerts.ACCESS_DENIED, "on the list of those who may not")


def broken(vc):
    if vc.server_name == "broken.example.com":
        raise ValueError("a bug")
"""


def programs(page: str) -> list[str]:
    """The Python pieces of a page of the manual."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", page, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


class HookTests(EdgeTestCase):
    """What stands in the configuration is asked, in order, and its answer counts."""

    def edge(self, configuration: str) -> Twistd:
        (self.directory / "ours.py").write_text(HOOKS)
        path = os.pathsep.join([str(self.directory), str(ROOT)])
        return self.start(configuration, environment={"PYTHONPATH": path})

    @property
    def notes(self) -> list[str]:
        file = self.directory / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def test_every_point_in_order(self) -> None:
        """Each hook is asked once; those of all listeners before a listener's own; towards the next host as well."""
        origin = self.origin(context=server_context("www.example.com"))
        edge = self.edge(
            "[ssl]\nclient.verify.server.policy = DISABLED\nhook.client_hello = ours:everywhere\n"
            f"[listen https]\nport = 0\npartial_blind_route = 127.0.0.1:{origin.port}\n"
            "hook.vconn_start = ours:start\nhook.client_hello = ours:slow, ours:hello\nhook.servername = ours:name\n"
            "hook.cert = ours:from_a_thread, ours:cert\nhook.verify_client = ours:verify\n"
            "hook.vconn_close = ours:close\nhook.outbound_start = ours:out_start\n"
            "hook.verify_server = ours:out_verify\nhook.outbound_close = ours:out_close\n"
        )
        began = time.monotonic()
        client = self.tls(edge.port(), "www.example.com")
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        client.sendall(b"ping")
        self.assertEqual(b"ping", client.recv(10))
        client.close()
        until(lambda: len(self.notes) == 11, "the last of the hooks")
        notes = [note.removesuffix(" www.example.com") for note in self.notes]
        self.assertEqual("start None", notes[0])
        self.assertEqual(
            ["everywhere", "slow", "hello", "name", "cert", "verify", "out start", "out verify"], notes[1:9]
        )
        self.assertEqual(["close", "out close"], sorted(notes[9:]))

    def test_refusals_and_bugs(self) -> None:
        """A hook refuses with the alert of its choice; one that is broken refuses too, and the log shows where."""
        edge = self.edge("[listen https]\nport = 0\nhook.client_hello = ours:refuse, ours:broken\n")

        def failure(name: str) -> Any:
            with self.assertRaises(ssl.SSLError) as caught:
                self.tls(edge.port(), name)
            return caught.exception.reason

        self.assertEqual("TLSV1_ALERT_ACCESS_DENIED", failure("bad.example.com"))
        edge.says("bad.example.com failed: on the list of those who may not")
        self.assertEqual("TLSV1_ALERT_INTERNAL_ERROR", failure("broken.example.com"))
        edge.says("the client_hello hook failed for 127.0.0.1")
        edge.says("ValueError: a bug")
        self.tls(edge.port(), "www.example.com")

    def test_a_name_that_is_none(self) -> None:
        """A name that leads nowhere is a line at the start."""
        edge = self.edge("[listen https]\nport = 0\nhook.cert = ours:nothing\n")
        self.assertEqual(1, edge.ended())
        self.assertIn("tap.cfg: [listen https] hook.cert: module ours has no nothing, allowed: ", edge.errors)

    def test_the_one_in_the_manual(self) -> None:
        """The hook of docs/hooks.rst waits for its database, and does what the page says."""
        page = (ROOT / "docs" / "hooks.rst").read_text(encoding="utf-8")
        (program,) = programs(page)
        (self.directory / "customers.py").write_text(program)
        with closing(sqlite3.connect(self.directory / "customers.db")) as database:
            database.execute("CREATE TABLE customers (name TEXT, paid INTEGER)")
            database.execute("INSERT INTO customers VALUES ('a.example.com', 1), ('b.example.com', 0)")
            database.commit()
        self.assertIn("hook.client_hello = customers:admit", page)
        edge = self.edge("[listen https]\nport = 0\nhook.client_hello = customers:admit\n")
        self.tls(edge.port(), "a.example.com")
        for name, alert in (
            ("b.example.com", "TLSV1_ALERT_ACCESS_DENIED"),
            ("c.example.com", "TLSV1_UNRECOGNIZED_NAME"),
        ):
            with self.assertRaises(ssl.SSLError) as caught:
                self.tls(edge.port(), name)
            self.assertEqual(alert, caught.exception.reason)
        edge.says("b.example.com failed: has not paid")
