# -*- test-case-name: tests.test_docs -*-
"""
The documents say what is so: their programs run, their figures are those of the code, and their names are there.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.config import EdgeConfig
from atstls.endpoints.settings import HANDSHAKE_SECONDS, LOOK_SECONDS
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_256K, buffer_size
from atstls.net.cop import LOST_SECONDS
from atstls.net.handler import RUN_SECONDS, TURNS_A_RUN, WIRE_BYTES
from atstls.session.protocol import ANSWER_BYTES, ANSWER_MOST_SECONDS, ANSWER_SECONDS, CLOSE_SECONDS, HIGH_WATER_BYTES
from atstls.session.splice import COPIED_BYTES, PIPE_BYTES
from atstls.session.tunnel import HALF_CLOSE_SECONDS
from atstls.ssl.sslvc import (
    BATCH_BYTES,
    DISCARD_BYTES,
    LINGER_SECONDS,
    PACKET_BYTES,
    RECEIVE_BYTES,
    RECEIVE_MORE_BYTES,
    RENEGOTIATIONS,
    RENEGOTIATIONS_SECONDS,
    SMALL_PACKET_BYTES,
)
from atstls.tls.clienthello import LIMIT_BYTES
from atstls.tls.phases import MOVES, Phase
from atstls.tls.recordsize import LIBRARY_RECORD_BYTES
from atstls.tls.renewal import KEY_SECONDS
from tests import features

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")

PATIENCE = 30.0
"""Seconds that a program may take on a machine that is busy with other things."""


def page(name: str) -> str:
    """A page's source."""
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def programs(text: str) -> list[str]:
    """The Python pieces of a page."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def words(text: str) -> str:
    """C{text} on one line, so that it does not matter where its lines end."""
    return " ".join(text.split())


def environment() -> dict[str, str]:
    """What a program needs to find the package of this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class ReadmeProgramTests(SynchronousTestCase):
    """
    The library in fifteen lines.
    """

    def setUp(self) -> None:
        found = re.search(r"<!-- library -->\n```python\n(.*?)```\n<!-- end -->", README, re.DOTALL)
        assert found is not None
        self.text = found[1]

    def test_fifteen_lines(self) -> None:
        """As is said: blank lines and imports are not counted."""
        lines = [line for line in self.text.splitlines() if line and not line.startswith(("from ", "import "))]
        self.assertEqual(15, len(lines))

    def test_it_runs(self) -> None:
        """A client of another make gets back what it sends, however much, and the end in order."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.assertIn("local_port=8443", self.text)
        program = self.text.replace("local_port=8443", f"local_port={port}")
        process = subprocess.Popen([sys.executable, "-c", program], env=environment(), stderr=subprocess.PIPE)
        self.addCleanup(lambda: process.stderr and process.stderr.close())
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(self._connect(port, process), suppress_ragged_eofs=False) as client:
            for size in (1, 1000, 30_000):
                data = os.urandom(size)
                client.sendall(data)
                self.assertEqual(data, self._read(client, size))
            client.unwrap()  # Raises unless the server says close_notify too.

    def _connect(self, port: int, process: subprocess.Popen[bytes]) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), PATIENCE)
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    assert process.stderr is not None
                    self.fail(f"it does not listen: {process.stderr.read().decode()}")
                time.sleep(0.05)

    def _read(self, client: ssl.SSLSocket, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = client.recv(size - len(got))
            self.assertTrue(piece)
            got += piece
        return got


class LibraryPageTests(SynchronousTestCase):
    """
    The program of docs/library.rst.
    """

    def test_it_runs(self) -> None:
        """Its pieces, one after the other, print what the page says."""
        text = page("library")
        found = re.search(r"and prints::\n\n((?:    .*\n)+)", text)
        assert found is not None
        program = "\n".join(programs(text))
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
        self.assertEqual("", done.stderr)
        self.assertEqual(textwrap.dedent(found[1]), done.stdout)

    def test_pieces_of_other_pages_are_python(self) -> None:
        """They are excerpts, which cannot run by themselves."""
        for path in DOCS.glob("*.rst"):
            for piece in programs(path.read_text(encoding="utf-8")):
                compile(piece, path.name, "exec")


def kib(count: float) -> int:
    """Bytes as whole KiB, rounded up."""
    return -int(-count // 1024)


class FeatureTests(SynchronousTestCase):
    """
    The table of features, docs/features.rst.
    """

    def test_nothing_is_wrong_with_it(self) -> None:
        """Every number is there, every feature that works has tests, and every test exists."""
        self.assertEqual([], features.mistakes())

    def test_mistakes_are_found(self) -> None:
        """A number that is not there, twice there or unknown, a feature without a test, and a test that has gone."""
        works = features.works
        sections = (
            features.Section(
                "Some",
                "S001-S004",
                (
                    works("S001", "Right.", "docs.FeatureTests.test_mistakes_are_found"),
                    works("S003", "No test."),
                    works("S003", "A test that has gone.", "docs.FeatureTests.test_gone"),
                    works("S004", "A module that has gone.", "gone.FeatureTests.test_gone"),
                    works("S009", "Unknown.", "docs.FeatureTests.test_mistakes_are_found"),
                    features.not_yet("S002", "No reason.", note=""),
                ),
            ),
            features.Section("Odd", "O1-O2", (features.oddity("O1", "", "x"), features.oddity("O99", "a", "b"))),
        )
        self.patch(features, "SECTIONS", sections)
        found = features.mistakes()
        for line in (
            "S009: there is no such feature in 'Some'",
            "S003: it is in the table twice",
            "S003: no test proves it",
            "S003: there is no test docs.FeatureTests.test_gone",
            "S004: there is no test gone.FeatureTests.test_gone",
            "S002: it does not say why",
            "O2: it is not in the table",
            "O99: there is no such feature in 'Odd'",
            "O99: no test has its name",
            "O1: it says nothing",
            "O17: there is no such oddity, but a test of its name",
        ):
            self.assertIn(line, found)
        self.assertEqual([], [line for line in found if line.startswith("S001")])

    def test_each_is_run(self) -> None:
        """A test that is named belongs to a test case that trial finds, under its own name or others."""
        found: dict[str, set[str]] = {}
        named = {features.module_of(test) for feature in features.every() for test in feature.tests}
        for module in {module for module, _ in named}:
            folder, _, name = module.rpartition(".")
            path = ".".join(part for part in ("tests", folder, f"test_{name}") if part)
            cases = [
                case
                for case in vars(importlib.import_module(path)).values()
                if isinstance(case, type) and issubclass(case, unittest.TestCase)
            ]
            found[module] = {
                f"{cls.__name__}.{test}"
                for case in cases
                for cls in case.__mro__
                for test in vars(cls)
                if test.startswith("test")
            }
        self.assertEqual([], [f"{module}.{test}" for module, test in sorted(named) if test not in found[module]])


class FigureTests(SynchronousTestCase):
    """
    Numbers in the documents.
    """

    def rows(self, title: str) -> dict[str, int]:
        """The rows of one table of what a connection may hold: from the first cell's first word to the last cell."""
        text = page("differences")
        start = text.index(f"   * - {title}\n")
        end = re.compile(r"\n\n(?=\S)").search(text, start)
        assert end is not None
        table = text[start : end.start()] + "\n"
        rows = {}
        for row in table.split("   * - ")[2:]:
            cells = re.split(r"^     - ", row, flags=re.MULTILINE)
            rows[words(cells[0])] = int(cells[-1])
        return rows

    def test_what_a_connection_may_hold(self) -> None:
        """The bound of what a connection costs that does not get on, in both directions, comes from the constants."""
        # A memory BIO grows to four thirds of what it is asked for (OpenSSL, BUF_MEM_grow_clean).
        block = kib(buffer_size(BUFFER_SIZE_INDEX_256K))
        bio_in = kib(RECEIVE_BYTES * 4 / 3)
        bio_out = kib(WIRE_BYTES * 4 / 3)
        # What is around a record's plaintext, and where OpenSSL aligns it, is less than 1 KiB.
        record = kib(LIBRARY_RECORD_BYTES + 1024)
        wire = kib(WIRE_BYTES)
        self.assertEqual([block, bio_in, record, record, bio_out, wire], list(self.rows("what").values()))
        tls = bio_in + record + record + bio_out + wire
        at_most = [
            2 * block + tls,
            2 * block + 2 * tls,
            kib(PIPE_BYTES),
            kib(HIGH_WATER_BYTES) + tls,
            kib(LIMIT_BYTES + RECEIVE_BYTES + LIMIT_BYTES),
        ]
        self.assertEqual(at_most, list(self.rows("so at the most, both directions stalled at once").values()))

    def test_a_batch_fits_the_wire(self) -> None:
        """What the bound rests on: the records of one batch fit one wire block, at 22 to 29 bytes for each."""
        records = BATCH_BYTES // LIBRARY_RECORD_BYTES + 1
        self.assertLess(BATCH_BYTES + 29 * records, WIRE_BYTES)

    def test_other_figures(self) -> None:
        """Those that are written out in words."""
        for name, phrases in {
            "differences": (
                f"``half_close_timeout``, {HALF_CLOSE_SECONDS:g} seconds",
                f"It lasts {LINGER_SECONDS:g} seconds and {DISCARD_BYTES >> 20} MiB",
                f"has {LOST_SECONDS:g} seconds",
                f"A ClientHello has {LIMIT_BYTES >> 10} KiB",
                f"less than a packet of {PACKET_BYTES} bytes",
                f"pieces of less than {SMALL_PACKET_BYTES} bytes",
                f"up to {TURNS_A_RUN} turns",
                f"one that begins {RUN_SECONDS * 1000:g} ms after the first is the last",
                f"{COPIED_BYTES >> 10} KiB at a time are copied",
            ),
            "life_of_a_read": (
                f"up to {RECEIVE_BYTES >> 10} KiB, and",
                f"room for more up to {RECEIVE_MORE_BYTES >> 10} KiB, are taken",
                f"the cop gives it {LOST_SECONDS:g} seconds",
            ),
            "life_of_a_write": (
                f"up to {BATCH_BYTES >> 10} KiB in all",
                f"it has {LINGER_SECONDS:g} seconds",
                f"away up to {DISCARD_BYTES >> 20} MiB",
            ),
            "state_machines": (f"{LINGER_SECONDS:g} seconds",),
            "sessions": (
                f"{RENEGOTIATIONS} times in {RENEGOTIATIONS_SECONDS:g} seconds",
                f"{KEY_SECONDS:g} seconds, a day",
            ),
            "expect": (
                f"{HANDSHAKE_SECONDS:g} seconds, or what ``handshake_timeout_seconds`` says",
                f"{CLOSE_SECONDS:g} seconds, or the connection's own timeout where",
                f"{ANSWER_SECONDS:g} seconds of silence, and {ANSWER_MOST_SECONDS:g} in all, or "
                f"{ANSWER_BYTES >> 20} MiB",
                f"when the user is gone - {LINGER_SECONDS:g} seconds",
                f"{HALF_CLOSE_SECONDS:g} seconds, or the connection's own timeout *",
                f"{EdgeConfig().drain_timeout:g} seconds, or ``drain_seconds``",
                f"{LOOK_SECONDS:g} seconds",
            ),
            "moving_from_ssl": (
                f"Here {HANDSHAKE_SECONDS:g} seconds",
                f"{CLOSE_SECONDS:g} for a peer that takes",
                f"{ANSWER_SECONDS:g} seconds of silence, and {ANSWER_MOST_SECONDS:g} in all, for the answer",
            ),
            "moving_from_txsni": (f"at most {LOOK_SECONDS:g} seconds",),
            "endpoints": (
                f"silent for {ANSWER_SECONDS:g} seconds, or goes on for {ANSWER_MOST_SECONDS:g} or for "
                f"{ANSWER_BYTES >> 20} MiB, is given up, and so is one that takes nothing for {CLOSE_SECONDS:g}",
                f"says nothing for {HANDSHAKE_SECONDS:g} seconds",
                f"more than {LOOK_SECONDS:g} seconds after",
            ),
            "architecture": (f"at most {LIMIT_BYTES >> 10} KiB",),
        }.items():
            text = words(page(name))
            for phrase in phrases:
                self.assertIn(phrase, text, name)


class PromiseTests(SynchronousTestCase):
    """
    The page about what to expect.
    """

    def test_each_has_its_tests(self) -> None:
        """A promise names tests that are there."""
        shown = re.findall(r"^\.\. shown by: (.*\n(?:   .*\n)*)", page("expect"), re.MULTILINE)
        self.assertGreater(len(shown), 15)
        for name in " ".join(shown).split():
            module, _, test = name.partition(".")
            text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
            self.assertTrue(f"def {test}(" in text, name)


class IncludedTests(SynchronousTestCase):
    """
    Programs of which pages show pieces.
    """

    def test_what_is_included_is_there(self) -> None:
        """The file, and the lines where a piece begins and ends; and what is shown is a program that a test runs."""
        found = 0
        for path in DOCS.glob("*.rst"):
            text = path.read_text(encoding="utf-8")
            for name, options in re.findall(r"^\.\. literalinclude:: (.*)\n((?:   .*\n)*)", text, re.MULTILINE):
                if name.startswith("_build/"):
                    continue  # It is made from the code.
                found += 1
                self.assertTrue(name.startswith("examples/"), f"{path.name}: {name}")
                lines = (DOCS / name).read_text(encoding="utf-8")
                for mark in re.findall(r":(?:start-at|end-before): (.*)", options):
                    self.assertIn(f"\n{mark}", lines, f"{path.name}: {name}")
        self.assertGreater(found, 5)


class PhaseTests(SynchronousTestCase):
    """
    The page about a connection's phases.
    """

    def test_every_phase_has_a_deadline(self) -> None:
        """The table of what a phase waits for has all of them but the last, which waits for nothing."""
        told = set(re.findall(r"\*\*(\w+)\*\*", page("state_machines")))
        self.assertEqual({phase.value for phase in Phase} - {Phase.CLOSED.value}, told)
        self.assertTrue(all(after is Phase.CLOSED for (before, _), after in MOVES.items() if before is Phase.CLOSED))


LIBRARY = ("eventsystem", "net", "tls", "ssl", "session")

OWN_METHODS = {
    # Named as a whole.
    "CffiEngine", "ClientHello", "Engine", "HelloReader", "NetVCTransport", "Pipe", "PipeBuffer", "PublicEngine",
    "RecordSizer", "DynamicRecordSizer", "TLSNetVCTransport",
}  # fmt: skip
"""Classes without a model in Traffic Server: their methods need not be in a map from its names."""


class NamingTests(SynchronousTestCase):
    """
    The map from Traffic Server's names to ours.
    """

    def test_every_public_name_is_there(self) -> None:
        """Classes and functions of the library's floors, and the methods of classes that have a model."""
        text = page("naming")
        told = {name for literal in re.findall(r"``(.+?)``", text, re.DOTALL) for name in re.findall(r"\w+", literal)}
        missing = []
        files = [ROOT / "atstls" / f"{name}.py" for name in ("errors", "events", "interfaces", "statistics")]
        for directory in LIBRARY:
            files.extend(sorted((ROOT / "atstls" / directory).glob("*.py")))
        for path in files:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                    continue
                names = [node.name]
                if isinstance(node, ast.ClassDef) and node.name not in OWN_METHODS:
                    names += [method.name for method in node.body if isinstance(method, ast.FunctionDef)]
                for name in names:
                    ours = not name.startswith("_") and (name[:1].isupper() or name == name.lower() or "_" in name)
                    if ours and name not in told:
                        missing.append(f"{path.relative_to(ROOT)}: {node.name}: {name}")
        if missing:
            self.fail("not in docs/naming.rst:\n" + "\n".join(missing))

    def test_files_are_there(self) -> None:
        """Each file that the map names exists."""
        named = set(re.findall(r"``((?:\w+/)?\w+\.py)``", page("naming")))
        self.assertTrue(named)
        self.assertEqual([], [name for name in sorted(named) if not (ROOT / "atstls" / name).exists()])

    def test_links_into_the_code(self) -> None:
        """Whatever file of ours a page names exists."""
        for path in DOCS.glob("*.rst"):
            for name in re.findall(r"``((?:atstls|tests|benchmarks)/[\w/]+\.py)``", path.read_text(encoding="utf-8")):
                self.assertTrue((ROOT / name).exists(), f"{path.name}: {name}")
