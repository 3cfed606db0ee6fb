"""
twistd's front desk.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls import tap
from atstls.edge.service import CannotStart, Edge
from atstls.tap import Options, makeService, without_traceback


class TapTests(SynchronousTestCase):
    """Options, and the service that they make."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        here = os.getcwd()
        os.chdir(directory)
        self.addCleanup(os.chdir, here)
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(sys, "excepthook", sys.excepthook)

    def make(self, *arguments: str) -> Any:
        options = Options()
        options.parseOptions(list(arguments))
        return makeService(options)

    def ended(self, *arguments: str) -> Any:
        with self.assertRaises(SystemExit) as caught:
            self.make(*arguments)
        return caught.exception.code

    def test_twistd_finds_it(self) -> None:
        """The plugin names this module, and twistd can use it."""
        (maker,) = (plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "atstls")
        verifyObject(IServiceMaker, maker)
        self.assertIs(makeService, maker.makeService)
        self.assertIs(Options, maker.options)

    def test_the_default(self) -> None:
        """Without a file the program is built all the same, and opens nothing before it is started."""
        edge = self.make()
        verifyObject(IService, edge)
        self.assertIsInstance(edge, Edge)
        self.assertIsNone(edge.plan.configuration.path)
        self.assertEqual("built-in default", edge.plan.file)
        self.assertTrue(all(listener.accept is None for listener in edge.listeners))
        self.assertEqual(("", ""), (self.out.getvalue(), self.err.getvalue()))

    def test_the_file_in_the_working_directory(self) -> None:
        """tap.cfg is read without being named, and another file when it is named."""
        Path("tap.cfg").write_text("[listen here]\nport = 0\n")
        Path("other.cfg").write_text("[listen there]\nport = 0\n")
        for arguments, file, name in (
            ((), "tap.cfg", "here"),
            (("--config", "other.cfg"), "other.cfg", "there"),
            (("-c", "other.cfg"), "other.cfg", "there"),
        ):
            edge = self.make(*arguments)
            self.assertEqual((file, name), (edge.plan.file, edge.listeners[0].name))

    def test_mistakes(self) -> None:
        """Each has its line on stderr, whether the file is wrong or what is to be made of it; and the status is 1."""
        self.assertEqual(1, self.ended("--config", "none.cfg"))
        self.assertIn("none.cfg: cannot be read: No such file", self.err.getvalue())
        Path("tap.cfg").write_text("[listen a]\nport = x\ncolour = red\n")
        self.assertEqual(1, self.ended())
        Path("tap.cfg").write_text("[listen a]\nport = 5\nforward_route = 127.0.0.1:5\n")
        self.assertEqual(1, self.ended("--check"))
        starts = (
            "none.cfg: cannot be read",
            "tap.cfg: [listen a] port: ",
            "tap.cfg: [listen a] colour: ",
            "tap.cfg: [listen a] forward_route: ",
        )
        for line, start in zip(self.err.getvalue().splitlines(), starts, strict=True):
            self.assertTrue(line.startswith(start), line)
        self.assertEqual("", self.out.getvalue())

    def test_check(self) -> None:
        """It says that the file is good, with what is worth a warning, and ends."""
        Path("tap.cfg").write_text("[listen a]\nport = 443\n")
        self.assertEqual(0, self.ended("--check"))
        self.assertTrue(self.out.getvalue().endswith("tap.cfg: ok\n"))
        self.assertIn("there is no [certificate]", self.out.getvalue())
        self.assertEqual("", self.err.getvalue())

    def test_a_word_too_many(self) -> None:
        """twistd tells how it is used."""
        self.assertRaises(usage.UsageError, Options().parseOptions, ["--chekc"])
        self.assertIn("--config", str(Options()))

    def test_no_traceback_for_what_an_operator_did(self) -> None:
        """A start that fails is told in its lines; every other error is shown as ever."""
        others: list[Any] = []
        hook = without_traceback(lambda *arguments: others.append(arguments))
        self.patch(sys, "__stderr__", self.err)
        exc = CannotStart(["one", "two"])
        hook(CannotStart, exc, None)
        self.assertEqual("one\ntwo\n", self.err.getvalue())
        bug = KeyError()
        hook(KeyError, bug, None)
        self.assertEqual([(KeyError, bug, None)], others)

    def test_the_reactor_is_not_chosen_by_us(self) -> None:
        """Importing the front desk installs no reactor: twistd has an option for that."""
        self.assertFalse(hasattr(tap, "reactor"))
