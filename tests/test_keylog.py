"""
Tests for L{atstls.edge.keylog}.
"""

import os
import stat
from pathlib import Path
from unittest import mock

from OpenSSL import SSL
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.keylog import KeyLog
from atstls.errors import ConfigurationError

NOBODY = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))


class KeyLogTests(SynchronousTestCase):
    """A file of secrets."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.keylog = KeyLog(self.path)
        self.addCleanup(self.keylog.close)

    def test_lines_are_added(self) -> None:
        """Each line is there at once, behind what was; nobody else may read it, though others could before."""
        self.path.write_bytes(b"before\n")
        self.path.chmod(0o644)
        self.keylog.open()
        self.keylog._write(NOBODY, b"CLIENT_RANDOM 01 02")
        self.assertEqual(b"before\nCLIENT_RANDOM 01 02\n", self.path.read_bytes())
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    def test_not_open(self) -> None:
        """Before and after, nothing is written and nothing fails."""
        self.keylog._write(NOBODY, b"x")
        self.assertFalse(self.path.exists())
        self.keylog.open()
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        self.keylog.close()
        self.keylog.close()
        self.keylog._write(NOBODY, b"x")
        self.assertEqual(b"", self.path.read_bytes())

    def test_cannot_be_opened(self) -> None:
        """It is said why, in the words of the configuration."""
        self.path.mkdir()
        error = self.assertRaises(ConfigurationError, self.keylog.open)
        self.assertEqual(f"[ssl] keylog_file: {self.path} cannot be written: Is a directory", str(error))
        self.path.rmdir()
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        error = self.assertRaises(ConfigurationError, self.keylog.open)
        self.assertEqual(f"[ssl] keylog_file: {self.path} is not a file", str(error))

    def test_the_disk_is_full(self) -> None:
        """It is said once, and connections go on."""
        lines: list[str] = []
        observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.keylog.open()
        with mock.patch("os.write", side_effect=OSError("no space")):
            self.keylog._write(NOBODY, b"x")
            self.keylog._write(NOBODY, b"y")
        self.assertEqual(1, len(lines), lines)
        self.assertIn("no space", lines[0])
