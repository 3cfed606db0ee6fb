# -*- test-case-name: tests.test_inherited -*-
"""
Sockets that others have opened: L{atstls.net.inherited}.  More of it, with an edge, is in L{tests.test_edge_service}.
"""

import os
import sys
from typing import Any

from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import ConfigurationError
from atstls.net import inherited
from atstls.net.inherited import passed_sockets, systemd_descriptor


class Twisted:
    """As much of C{twisted.internet.endpoints} as is asked: it has read the environment before us."""

    @staticmethod
    def quoteStringArgument(text: str) -> str:
        return text.replace(":", r"\:")

    def serverFromString(self, reactor: Any, text: str) -> Any:
        kind, domain, place = text.split(":", 2)
        assert (kind, domain) == ("systemd", "domain=UNIX")
        key, _, value = place.partition("=")
        self.fileno = {"web": 3, "api": 4}[value] if key == "name" else [3, 4][int(value)]
        return self


class WhoCameFirstTests(SynchronousTestCase):
    """The environment is read by Twisted, by us, or by both."""

    def setUp(self) -> None:
        self.addCleanup(passed_sockets.cache_clear)
        passed_sockets.cache_clear()

    def environment(self, **variables: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
        self.patch(os, "environ", environ | variables)

    def test_we_did(self) -> None:
        """It is left where it is, so that Twisted's own strings work too."""
        self.environment(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:api")
        for _ in range(2):
            self.assertEqual([3, 4, 3], [systemd_descriptor(name) for name in ("web", "api", "0")])
        self.assertEqual([3, 4], ListenFDs.fromEnvironment(environ=os.environ).inheritedDescriptors())
        self.assertRaises(ConfigurationError, systemd_descriptor, "other")

    def test_for_somebody_else(self) -> None:
        """A child of the process that they were passed to has none."""
        self.environment(LISTEN_PID=str(os.getpid() + 1), LISTEN_FDS="2", LISTEN_FDNAMES="web:api")
        exc = self.assertRaises(ConfigurationError, systemd_descriptor, "web")
        self.assertIn("none, since systemd passed no socket", str(exc))

    def test_twisted_did(self) -> None:
        """Then it is asked, by name and by number."""
        self.environment()
        self.patch(sys, "modules", sys.modules | {inherited._READER: Twisted()})
        self.assertEqual([3, 4, 4], [systemd_descriptor(name) for name in ("web", "api", "1")])
        for name in ("other", "2"):
            self.assertRaises(ConfigurationError, systemd_descriptor, name)
        self.assertRaises(ConfigurationError, systemd_descriptor, "web", ListenFDs([]))

    def test_twisted_is_not_there(self) -> None:
        """It is not imported for that."""
        self.environment()
        modules = {name: module for name, module in sys.modules.items() if name != inherited._READER}
        self.patch(sys, "modules", modules)
        self.assertRaises(ConfigurationError, systemd_descriptor, "web")

    def test_the_real_one(self) -> None:
        """What is asked of Twisted is what it understands: a socket that there is not is a mistake."""
        self.environment()
        for name in ("web", "0", "a:b"):
            self.assertRaises(ConfigurationError, systemd_descriptor, name)
