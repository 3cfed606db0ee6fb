# -*- test-case-name: tests.test_project -*-
"""
What stands around the package says what is so: the sample configuration, and the README.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import trustme
from twisted.trial.unittest import SynchronousTestCase

from atstls.edge.config import default_configuration, load

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of C{language}."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


class SampleTests(SynchronousTestCase):
    """
    Configurations that are shown to operators.
    """

    def test_the_sample_is_the_default(self) -> None:
        """tap.cfg as it is shipped changes nothing, so whatever it shows is what holds without it."""
        sample = load(ROOT / "tap.cfg")
        self.assertEqual(attrs.evolve(sample, path=None), default_configuration())

    def test_the_readmes_configuration_is_accepted(self) -> None:
        """Who copies it, with a certificate and a key, has no mistake in it; and it is ten lines, as is said."""
        (text,) = blocks("ini")
        self.assertEqual(len(text.splitlines()), 10)
        directory = Path(self.mktemp())
        directory.mkdir()
        certificate = trustme.CA().issue_cert("www.example.com")
        certificate.private_key_pem.write_to_path(directory / "www.key")
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(directory / "www.pem", append=True)
        (directory / "tap.cfg").write_text(text, encoding="utf-8")
        configuration = load(directory / "tap.cfg")
        self.assertEqual(configuration.warnings, ())
        self.assertEqual((len(configuration.listens), len(configuration.snis)), (1, 2))


class ReadmeTests(SynchronousTestCase):
    """
    What the README tells a newcomer to type.
    """

    def test_two_commands_of_one_line(self) -> None:
        """One starts the edge, one runs the tests; each makes its own environment."""
        commands = [text.splitlines() for text in blocks("sh")]
        self.assertEqual([len(lines) for lines in commands], [1, 1])
        for (line,), end in zip(commands, ("twistd -n atstls", "trial tests"), strict=True):
            self.assertTrue(line.startswith("python3 -m venv .venv && "), line)
            self.assertTrue(line.endswith(f"&& .venv/bin/{end}"), line)

    def test_links_lead_somewhere(self) -> None:
        """Every file that is linked is there."""
        targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
        self.assertTrue(targets)
        self.assertEqual([target for target in targets if not (ROOT / target).exists()], [])

    def test_places_to_be_filled_are_marked(self) -> None:
        """The cost table is put in by a program, which looks for these lines."""
        self.assertRegex(README, r"(?s)<!-- cost table -->\n.*?<!-- end -->")
