# -*- test-case-name: tests.test_keylog -*-
"""
L{KeyLog}: the secrets of connections, in a file from which Wireshark reads them.

Who has the file can read every connection whose packets he has kept.  So nobody but its owner may read it, and the log
says at each start that it is written.

Source: row A078; the format is NSS's key log (draft-ietf-tls-keylogfile), which OpenSSL writes line by line.
"""

import os
import stat
from pathlib import Path
from typing import Final

from OpenSSL import SSL
from twisted.logger import Logger

from atstls.edge.places import File
from atstls.errors import ConfigurationError

MODE: Final = 0o600


class KeyLogPath(File):
    """Where the key log is, or is to be made."""

    noun = "the path of a file"
    span = "in a directory that is there"

    def check(self, value: Path) -> None:
        if not value.parent.is_dir():
            raise ValueError(f"{value.parent} is not a directory")
        if value.exists() and not value.is_file():
            raise ValueError(f"{value} is not a file")


class KeyLog:
    """
    Takes the lines of all contexts that it was given.

    @ivar path: the file.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def watch(self, context: SSL.Context) -> None:
        """Have the secrets of connections of C{context}, which was not used yet."""
        context.set_keylog_callback(self._write)

    def open(self) -> None:
        """
        Open the file, for its owner alone.  What is in it stays.

        @raise ConfigurationError: it cannot be opened.
        """
        try:
            # Not to wait for whoever reads, should it have become a pipe since it was looked at.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self.path, flags, MODE)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigurationError(f"[ssl] keylog_file: {self.path} is not a file")
                os.fchmod(descriptor, MODE)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as exc:
            raise ConfigurationError(f"[ssl] keylog_file: {self.path} cannot be written: {exc.strerror}") from exc
        self._descriptor = descriptor

    def close(self) -> None:
        """Write no more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _write(self, connection: SSL.Connection, line: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, line + b"\n")
        except OSError as exc:
            # The disk is full, say.  Connections go on, and the next line would not fare better.
            self._log.error("{path} cannot be written, and is not any more: {reason}", path=self.path, reason=exc)
            self.close()
