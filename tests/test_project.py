# -*- test-case-name: tests.test_project -*-
"""
What stands around the package says what is so: the sample configuration, the README, and the news; and what holds for
all of its code.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import attrs
import trustme
from twisted.trial.unittest import SkipTest, SynchronousTestCase

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

    def test_no_code_across_lines(self) -> None:
        """What stands between backticks can be copied: no line ends within."""
        prose = re.sub(r"(?ms)^```.*?^```$", "", README)
        self.assertEqual([], [line for line in prose.splitlines() if line.count("`") % 2])

    def test_places_to_be_filled_are_marked(self) -> None:
        """The cost table is put in by a program, which looks for these lines."""
        self.assertRegex(README, r"(?s)<!-- cost table -->\n.*?<!-- end -->")


class NewsTests(SynchronousTestCase):
    """
    What changed, for users.
    """

    FRAGMENTS = ROOT / "docs" / "newsfragments"

    def fragments(self) -> list[Path]:
        return [path for path in sorted(self.FRAGMENTS.iterdir()) if path.suffix != ".rst"]

    def test_fragments_are_of_a_kind_that_is_known(self) -> None:
        """Others would be left out of the changelog, and nobody would notice."""
        kinds = {".feature", ".bugfix", ".doc", ".removal", ".misc"}
        self.assertEqual([], [path.name for path in self.fragments() if path.suffix not in kinds])

    def test_fragments_are_one_sentence(self) -> None:
        """As docs/newsfragments/README.rst has it."""
        for path in self.fragments():
            text = path.read_text(encoding="utf-8").strip()
            self.assertTrue(text.endswith("."), path.name)
            self.assertNotIn(".  ", text, path.name)

    def test_changelog(self) -> None:
        """towncrier makes a changelog of them: each is in it, with nothing about issues behind it."""
        try:
            importlib.import_module("towncrier")
        except ImportError:
            raise SkipTest("towncrier is not installed") from None
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "1.2.3", "--date", "2000-01-02"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual(0, done.returncode, done.stderr)
        told = " ".join(done.stdout.split())
        self.assertIn("atstls 1.2.3 (2000-01-02)", told)
        self.assertNotIn("()", told)
        for path in self.fragments():
            self.assertIn(" ".join(path.read_text(encoding="utf-8").split()), told, path.name)


class CodeTests(SynchronousTestCase):
    """
    Every module of the package.
    """

    def setUp(self) -> None:
        paths = sorted((ROOT / "atstls").rglob("*.py"))
        self.assertGreater(len(paths), 40)
        self.trees = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in paths}

    def test_everything_is_annotated(self) -> None:
        """Each function says what it takes and gives, and the package says so to the type checkers of others."""
        bare = []
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    args = node.args
                    named = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
                    free = [arg.arg for arg in named if arg and not arg.annotation and arg.arg not in ("self", "cls")]
                    # An interface's methods have no self, and those of Twisted's have no annotations.
                    if free or node.returns is None:
                        bare.append(f"{path}:{node.lineno} {node.name} {free}")
        self.assertEqual([], bare)
        self.assertTrue((ROOT / "atstls" / "py.typed").exists())

    def test_logs_are_twisteds(self) -> None:
        """Whatever is logged goes through twisted.logger, with fields; nothing is printed but by the front desk."""
        wrong, loggers = [], 0
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Import) and any(name.name.split(".")[0] == "logging" for name in node.names):
                    wrong.append(f"{path}:{node.lineno} logging")
                if isinstance(node, ast.ImportFrom):
                    # ILogContext is the key under which Twisted's own observers look for who is at work.
                    logs = node.module == "twisted.python.log" and [n.name for n in node.names] != ["ILogContext"]
                    wrong += [f"{path}:{node.lineno} {node.module}"] * (node.module == "logging" or logs)
                    loggers += node.module == "twisted.logger"
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                if called == "print" and path.name != "tap.py":
                    wrong.append(f"{path}:{node.lineno} print")
                first = node.args[0] if node.args else None
                if called.startswith(("self._log.", "cls._log.", "log.")) and isinstance(first, ast.JoinedStr):
                    wrong.append(f"{path}:{node.lineno} f-string")
        self.assertEqual([], wrong)
        self.assertGreater(loggers, 5)
