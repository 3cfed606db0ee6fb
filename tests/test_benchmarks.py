# -*- test-case-name: tests.test_benchmarks -*-
"""
What atstls costs, as far as it can be counted: bounds that a change may not exceed unnoticed.  And the programs that
measure the rest.

A time is another one on every machine; how often a function is called is not.  The bounds leave room for a call or
two, not for a second look at every byte.
"""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from atstls.eventsystem.iobuffer import empty_pool, pooled_bytes
from benchmarks import calls, edge, endpoints, loads
from benchmarks.calls import Connections, Requests, read_trace, system_calls
from benchmarks.candidates import PEERS, START, Door, Running
from benchmarks.loads import APPLICATION, UNITS, WORDS, WORK, Options, Unfit
from benchmarks.report import BEGIN, COLOURS, END, Report, into_readme, kind

ROOT = Path(__file__).resolve().parent.parent

NO_EPOLL = None if hasattr(select, "epoll") else "this system has no epoll"


class RequestTests(SynchronousTestCase):
    """A request and its answer, through TLS, a tunnel and plain text."""

    skip = NO_EPOLL
    times = 8

    calls_at_most: ClassVar = {1: 24, 32: 16}
    """By how many connections have something to do in one turn: what is done once a turn is shared by them."""

    def setUp(self) -> None:
        empty_pool()
        self.addCleanup(empty_pool)

    def requests(self, connections: int, version: str) -> Requests:
        made = Requests(connections, version)
        self.addCleanup(made.close)
        return made

    def test_calls(self) -> None:
        """Few calls of Python's functions, and not one system call that can only fail."""
        for version in ("TLSv1.3", "TLSv1.2"):
            for connections, most in self.calls_at_most.items():
                count = self.requests(connections, version).count(self.times)
                a_request = count.calls.total() / self.times / connections
                self.assertLessEqual(a_request, most, f"{version}, {connections} at once: {count.calls}")
                self.assertGreater(a_request, 4, "nothing was counted")
                self.assertEqual({}, dict(count.refused), version)

    def test_the_same_every_time(self) -> None:
        """Otherwise it would be no use as a bound."""
        requests = self.requests(3, "TLSv1.3")
        self.assertEqual(requests.count(2), requests.count(2))

    def test_memory(self) -> None:
        """A silent connection holds no block, and the pool has no more after a hundred requests than after four."""
        requests = self.requests(8, "TLSv1.3")
        requests.exchange(4)
        before = pooled_bytes()
        requests.exchange(100)
        self.assertEqual((before, 0), (pooled_bytes(), requests.blocks_held()))

    def test_a_block_that_is_held_is_seen(self) -> None:
        """The count of blocks would notice a connection that keeps one."""
        requests = self.requests(1, "TLSv1.3")
        requests.exchange()
        tls = requests.vcs[0]
        tls.read.vio.buffer.writer.write(b"x")
        self.assertEqual(1, requests.blocks_held())

    def test_system_calls(self) -> None:
        """Two transfers in, two out, and a look at what is ready; none fails."""
        found = system_calls(1, 8)
        if found is None:
            self.skipTest("strace is not here, or is not allowed to look")
        made, failed = found
        self.assertEqual({}, dict(failed))
        self.assertLessEqual(made.total() / 8, 7, dict(made))
        self.assertGreaterEqual(made.total() / 8, 4, dict(made))


class ConnectionTests(SynchronousTestCase):
    """A connection from accept to the end, through the edge as its configuration makes it."""

    skip = NO_EPOLL

    def test_calls(self) -> None:
        """A handshake costs what OpenSSL takes; our part of it stays small, and it leaves nothing behind."""
        made = Connections()
        self.addCleanup(made.close)
        count = made.count(4)
        self.assertLessEqual(count.calls.total() / 4, 290, count.calls)
        self.assertLessEqual(count.refused.total() / 4, 3, count.refused)
        self.assertEqual((set(), True), (made.handler.open_list, made.handler.idle()))


class TraceTests(SynchronousTestCase):
    """What strace writes."""

    def test_between_the_marks(self) -> None:
        """What is counted is what stands between them, and a failure is known by its name."""
        text = f"""
7 sendto(5, "early", 5, 0, NULL, 0) = 5
7 access("{calls.BEGIN}", F_OK) = -1 ENOENT (No such file or directory)
7 recvfrom(5, "a = 1", 5, 0, NULL, NULL) = 5
7 recvfrom(5, 0x7f, 5, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
7 mmap(NULL, 262144, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000
7 access("{calls.END}", F_OK) = -1 ENOENT (No such file or directory)
7 close(5) = 0
"""
        self.assertEqual(({"recvfrom": 2}, {"recvfrom EAGAIN": 1}), tuple(map(dict, read_trace(text))))


class ReportTests(SynchronousTestCase):
    """What a run found, and how it is shown."""

    def setUp(self) -> None:
        self.report = Report("2001-02-03", "1 x Abacus", "medians of 3 rounds", {"CPython": "3.10.0", "nginx": "1.0.0"})
        for ours, theirs in ((3.0, 4.0), (1.0, 5.0), (2.0, 3.0)):
            self.report.add("request", "atstls", ours)
            self.report.add("request", "nginx", theirs)
        self.report.add("tunnel", "atstls", 0.5)
        self.report.add("crowd 1000", "atstls", 25.0)

    def test_medians_and_ratios(self) -> None:
        """The middle of all rounds; and no ratio to who has not done it."""
        self.assertEqual((2.0, 4.0), (self.report.median("request", "atstls"), self.report.median("request", "nginx")))
        self.assertEqual((2 / 3, None), (self.report.ratio("request", "nginx"), self.report.ratio("tunnel", "nginx")))
        self.report.add("request", "nginx", 4.0)
        self.assertEqual(0.5, self.report.ratio("request", "nginx"))
        self.report.add("request", "nginx", 0.0)
        self.assertIsNone(self.report.ratio("request", "nginx"))

    def test_table(self) -> None:
        """Date, versions, spread and ratio are in it."""
        table = self.report.table()
        for words in ("2001-02-03, 1 x Abacus; CPython 3.10.0", "(1.00 .. 3.00)", "4.00", "atstls is 0.67 of it"):
            self.assertIn(words, table)

    def test_json(self) -> None:
        """It comes back as it was."""
        self.assertEqual(self.report, Report.from_json(self.report.to_json()))

    def test_readme(self) -> None:
        """The table replaces the one that is there, and nothing else changes."""
        table = self.report.markdown()
        self.assertIn("| CPU µs/request | 2.00 | 0.67 |\n", table)
        text = f"a\n{BEGIN}{END}b {END}\n"
        once = into_readme(text, table)
        self.assertEqual(f"a\n{BEGIN}{table}{END}b {END}\n", once)
        self.assertEqual(once, into_readme(once, table))
        self.assertRaises(ValueError, into_readme, "a\n", table)
        into_readme((ROOT / "README.md").read_text(encoding="utf-8"), table)

    def test_chart(self) -> None:
        """It is a drawing with a bar for each figure, the longest as long as in every other group."""
        space = "{http://www.w3.org/2000/svg}"
        drawing = ElementTree.fromstring(self.report.svg())
        bars = [bar for bar in drawing.iter(f"{space}rect") if bar.find(f"{space}title") is not None]
        self.assertEqual(["215.0", "430.0", "430.0", "430.0"], sorted(bar.attrib["width"] for bar in bars))

    def test_everything_has_its_words(self) -> None:
        """No work without a unit, no edge without a colour."""
        self.assertEqual(set(WORK) | set(APPLICATION) | {"silence"}, set(UNITS))
        self.assertEqual(set(UNITS), set(WORDS))
        self.assertEqual(set(START), set(COLOURS))
        self.assertLessEqual(set(endpoints.START), set(COLOURS))
        self.assertLessEqual(set(endpoints.GOALS), set(endpoints.ENDPOINT_WORK))
        self.assertEqual("crowd", kind("crowd 1000"))


class ProgramTests(SynchronousTestCase):
    """C{benchmarks/edge.py}."""

    def test_a_crowd_needs_descriptors(self) -> None:
        """Without them it is left out, with the reason."""
        running = Running("none", (), {"web": Door(1, "x")})
        self.patch(loads, "descriptors", lambda: 1024)
        exc = self.assertRaises(Unfit, loads.crowd, running, Options())
        self.assertIn("1024 descriptors are too few", str(exc))
        self.patch(loads, "descriptors", lambda: 100000)
        self.assertEqual(10000, loads.crowd_size(10000))

    def test_words_that_it_does_not_know(self) -> None:
        """A misspelt name is not left out in silence."""
        self.assertEqual(["nginx"], edge.names("nginx", PEERS))
        self.assertEqual([], edge.names("none", PEERS))
        exc = self.assertRaises(edge.argparse.ArgumentTypeError, edge.names, "nginx,ngnix", PEERS)
        self.assertIn("ngnix: not one of", str(exc))

    def test_endpoints(self) -> None:
        """benchmarks/endpoints.py: both servers do all of the work, and what has a goal is told with it."""
        if not Path("/proc/self/schedstat").exists():
            self.skipTest("there is no /proc/PID/schedstat")
        kept = Path(self.mktemp())
        works = ["bulk", "upload", "put", "packets", "conn", "echo", "message", "messages", "greet"]
        amounts = ["--rounds", "1", "--seconds", "0.1", "--mib", "2", "--pure", "--json", str(kept)]
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "endpoints.py"), *amounts, "--work", ",".join(works)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr + done.stdout)
        figures = Report.from_json(kept.read_text(encoding="utf-8")).figures
        self.assertEqual({work: {"atstls", "twisted"} for work in works}, {row: set(figures[row]) for row in figures})
        for work in endpoints.GOALS:
            self.assertIn(f"\n{work}: ", done.stdout.partition("of twisted's CPU time:")[2])

    def test_without_anybody(self) -> None:
        """It runs without a peer, without nginx and without wrk, and every figure is there."""
        if not Path("/proc/self/schedstat").exists():
            self.skipTest("there is no /proc/PID/schedstat")
        there = Path(self.mktemp())
        there.mkdir()
        works = ["idle", "bulk", "upload", "page", "conn", "request", "lone", "tunnel"]
        command = [sys.executable, str(ROOT / "benchmarks" / "edge.py"), "--pure", "--peers", "none", "--rounds", "1"]
        amounts = ["--seconds", "0.2", "--mib", "2", "--idle", "100", "--json", str(there / "run.json")]
        done = subprocess.run(
            [*command, *amounts, "--chart", str(there / "run.svg"), "--work", ",".join(works)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr + done.stdout)
        report = Report.from_json((there / "run.json").read_text(encoding="utf-8"))
        self.assertEqual(works, report.rows())
        for row in works:
            self.assertGreater(report.figures[row]["atstls"][0], 0, row)
        self.assertIn("Twisted", report.versions)
        ElementTree.parse(there / "run.svg")
