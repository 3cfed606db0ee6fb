# -*- test-case-name: tests.test_floors -*-
"""
The floors of the house: who may import whom, checked by reading every module with C{ast}.

A module imports only from floors below its own, and from its own package.  Modules of floor 0 may use each other.  On
top of that: no circle of imports, no relative import, no import inside a function (the usual dodge around a circle), no
global reactor at module level, C{__init__.py} holds a docstring only (but for a door), and OpenSSL's private names stay
in one module.

Imports under C{if TYPE_CHECKING:} count like all others: two modules that must know each other's types belong together,
or one of them wants an interface.

The floors are drawn in C{docs/architecture.rst}.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "events": 0,
    "errors": 0,
    "interfaces": 0,
    "statistics": 0,
    "eventsystem": 1,
    "net": 2,
    "tls": 2,
    "ssl": 3,
    "session": 4,
    "endpoints": 5,
    "edge": 6,
    "tap": 7,
}
"""The first name below C{atstls} in a module's path, and the floor it is on."""

PACKAGE = "atstls"
DOOR = "atstls.endpoints"
"""The package that applications import: its C{__init__.py} holds its public names as well."""

ENGINE = "atstls.tls.engine"
"""The one module that may use private names of pyOpenSSL."""

PRIVATE_ATTRIBUTES = frozenset({"_ssl", "_into_ssl", "_from_ssl", "_util"})
"""Attributes of pyOpenSSL's objects that are not its public face, and that nothing of ours is called."""

PRIVATE_MODULES = ("OpenSSL._util", "cryptography.hazmat.bindings", "_cffi_backend")


class Module:
    """
    One source file of the package.

    @ivar name: the dotted name; a package has its own, without C{__init__}.
    @ivar is_package: whether it is an C{__init__.py}.
    @ivar tree: its syntax tree.
    """

    def __init__(self, name: str, is_package: bool, source: str) -> None:
        self.name = name
        self.is_package = is_package
        self.tree = ast.parse(source, filename=name)

    @property
    def place(self) -> str:
        """What the floors know it by: C{net} for C{atstls.net.poll}, empty for C{atstls} itself."""
        return self.name.partition(".")[2].partition(".")[0]


def read_tree(root: Path) -> dict[str, Module]:
    """Every module of the package that stands in C{root}, by its dotted name."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        if is_package:
            parts.pop()
        name = ".".join(parts)
        modules[name] = Module(name, is_package, path.read_text(encoding="utf-8"))
    return modules


def imported_names(module: Module) -> Iterator[tuple[int, str, str | None]]:
    """
    What C{module} imports, absolutely.

    @return: line, the module named, and the name taken from it (C{None} for a plain C{import}).
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


def own_imports(module: Module, modules: dict[str, Module]) -> Iterator[tuple[int, str]]:
    """The package's modules that C{module} imports, with the line; C{from package import module} is seen through."""
    for line, source, name in imported_names(module):
        if source != PACKAGE and not source.startswith(PACKAGE + "."):
            continue
        deeper = f"{source}.{name}"
        yield line, deeper if deeper in modules else source


def upward_imports(modules: dict[str, Module]) -> list[str]:
    """Imports from the same floor's other packages, or from a floor above."""
    complaints = []
    for module in modules.values():
        if module.place and module.place not in FLOORS:
            complaints.append(f"{module.name}: is on no floor")
            continue
        for line, target in own_imports(module, modules):
            place = target.partition(".")[2].partition(".")[0]
            if place == "":
                continue  # atstls itself: its version
            if place not in FLOORS:
                complaints.append(f"{module.name}:{line}: imports {target}, which is on no floor")
            elif module.place == "":
                complaints.append(f"{module.name}:{line}: the root of the package imports {target}")
            elif place != module.place and not 0 == FLOORS[place] == FLOORS[module.place]:
                if FLOORS[place] == FLOORS[module.place]:
                    complaints.append(f"{module.name}:{line}: imports {target}, its neighbour on floor {FLOORS[place]}")
                elif FLOORS[place] > FLOORS[module.place]:
                    complaints.append(
                        f"{module.name}:{line}: imports {target}, up from floor {FLOORS[module.place]}"
                        f" to floor {FLOORS[place]}"
                    )
    return complaints


def circles(modules: dict[str, Module]) -> list[str]:
    """One complaint for each circle that is met first when the imports are followed from every module."""
    edges = {
        name: sorted({target for _, target in own_imports(module, modules) if target in modules})
        for name, module in modules.items()
    }
    complaints = []
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        # A walk without recursion: the way here, and for each step the targets that are still to be tried.
        waiting = [iter([start])]
        while waiting:
            target = next(waiting[-1], None)
            if target is None:
                waiting.pop()
                if path:
                    done.add(path.pop())
            elif target in path:
                complaints.append(" -> ".join([*path[path.index(target) :], target]))
            elif target not in done:
                path.append(target)
                waiting.append(iter(edges[target]))
    return complaints


def relative_imports(modules: dict[str, Module]) -> list[str]:
    """C{from . import x} and its kind."""
    return [
        f"{module.name}:{node.lineno}: a relative import"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def hidden_imports(modules: dict[str, Module]) -> list[str]:
    """Imports inside a function."""
    complaints = set()
    for module in modules.values():
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        complaints.add(f"{module.name}:{node.lineno}: an import inside {function.name}()")
    return sorted(complaints)


def global_reactors(modules: dict[str, Module]) -> list[str]:
    """The global reactor, imported: it would be installed by the mere import of the module."""
    return [
        f"{module.name}:{line}: imports the global reactor"
        for module in modules.values()
        for line, source, name in imported_names(module)
        if (source, name) == ("twisted.internet", "reactor") or source == "twisted.internet.reactor"
    ]


def full_packages(modules: dict[str, Module]) -> list[str]:
    """An C{__init__.py} that holds more than its docstring; the root may hold C{__version__}, the door its names."""
    complaints = []
    for module in modules.values():
        if not module.is_package:
            continue
        if ast.get_docstring(module.tree) is None:
            complaints.append(f"{module.name}: has no docstring")
        for node in module.tree.body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_version = module.name == PACKAGE and isinstance(node, ast.Assign)
            is_name = module.name == DOOR and (
                (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(DOOR + "."))
                or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
            )
            if not is_docstring and not is_version and not is_name:
                complaints.append(f"{module.name}:{node.lineno}: an __init__.py holds a docstring only")
    return complaints


def private_names(modules: dict[str, Module]) -> list[str]:
    """Private names of pyOpenSSL and its bindings outside of the engine."""
    complaints = []
    for module in modules.values():
        if module.name == ENGINE:
            continue
        for line, source, name in imported_names(module):
            whole = f"{source}.{name}"
            if whole.startswith(PRIVATE_MODULES) or (source.startswith("OpenSSL") and (name or "").startswith("_")):
                complaints.append(f"{module.name}:{line}: imports {whole}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute):
                used: object = node.attr
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "setattr", "hasattr")
                and len(node.args) > 1
                and isinstance(node.args[1], ast.Constant)
            ):
                used = node.args[1].value
            else:
                continue
            if used in PRIVATE_ATTRIBUTES:
                complaints.append(f"{module.name}:{node.lineno}: uses {used}")
    return complaints


class HouseTests(SynchronousTestCase):
    """
    The package as it stands keeps the rules.
    """

    def setUp(self) -> None:
        """Read the package once for each test; it takes a few milliseconds a module."""
        self.modules = read_tree(ROOT)

    def test_the_package_is_found(self) -> None:
        """An empty tree would pass everything, so that the modules were found is a test of its own."""
        self.assertIn("atstls", self.modules)
        self.assertIn("atstls.events", self.modules)
        self.assertTrue(self.modules["atstls.net"].is_package)

    def test_imports_go_down_only(self) -> None:
        """Nothing knows what stands above it or beside it."""
        self.assertEqual(upward_imports(self.modules), [])

    def test_no_circular_import(self) -> None:
        """Every module can be understood, and loaded, after the ones that it imports."""
        self.assertEqual(circles(self.modules), [])

    def test_imports_are_absolute(self) -> None:
        """A line can be read, and moved, without knowing the file that it stands in."""
        self.assertEqual(relative_imports(self.modules), [])

    def test_imports_stand_at_the_top(self) -> None:
        """What a module needs is seen on its first screen."""
        self.assertEqual(hidden_imports(self.modules), [])

    def test_the_reactor_is_handed_in(self) -> None:
        """Importing the package installs no reactor; who wants another one can still choose."""
        self.assertEqual(global_reactors(self.modules), [])

    def test_packages_hold_docstrings(self) -> None:
        """Importing one module of a package never imports the others."""
        self.assertEqual(full_packages(self.modules), [])

    def test_private_names_of_openssl_stay_in_the_engine(self) -> None:
        """A change inside pyOpenSSL is mended in one file."""
        self.assertEqual(private_names(self.modules), [])

    def test_the_drawing_names_every_floor(self) -> None:
        """The page that draws the floors knows each place that the table knows."""
        page = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
        self.assertEqual([place for place in FLOORS if place not in page], [])


class CheckerTests(SynchronousTestCase):
    """
    The checks find what they look for, on small trees that are made up.
    """

    def modules(self, **sources: str) -> dict[str, Module]:
        """A tree from C{place__module="source"}; C{__init__} modules are added where they are missing."""
        root = Path(self.mktemp())
        for name, source in {"__init__": '"""Root."""', **sources}.items():
            path = (root / PACKAGE).joinpath(*name.replace("__init__", "INIT").split("__"))
            path = path.with_name(path.name.replace("INIT", "__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            inner = path.parent / "__init__.py"
            if not inner.exists():
                inner.write_text('"""A package."""', encoding="utf-8")
        return read_tree(root)

    def test_downward_is_allowed(self) -> None:
        """Down, inside the own package, and among the words of floor 0."""
        modules = self.modules(
            events="",
            errors="from atstls.events import X",
            net__poll="from atstls.events import X\nimport atstls.errors",
            net__handler="from atstls.net import poll\nfrom atstls import __version__",
            tap="import atstls.net.handler",
        )
        self.assertEqual(upward_imports(modules), [])
        self.assertEqual(circles(modules), [])

    def test_upward_is_found(self) -> None:
        """In each of the ways that an import can be written."""
        modules = self.modules(
            ssl__sslvc="",
            net__a="from atstls.ssl.sslvc import SSLNetVConnection",
            net__b="import atstls.ssl.sslvc",
            net__c="from atstls.ssl import sslvc",
            net__d="from atstls import ssl",
            net__e="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import atstls.ssl.sslvc",
        )
        complaints = upward_imports(modules)
        self.assertEqual(
            [line.partition(": ")[0] for line in complaints],
            ["atstls.net.a:1", "atstls.net.b:1", "atstls.net.c:1", "atstls.net.d:1", "atstls.net.e:3"],
        )
        self.assertIn("up from floor 2 to floor 3", complaints[0])

    def test_neighbours_are_found(self) -> None:
        """TCP and TLS do not know each other, in either direction."""
        modules = self.modules(net__a="import atstls.tls.b", tls__b="", tls__c="from atstls.net import a")
        self.assertEqual(
            upward_imports(modules),
            [
                "atstls.net.a:1: imports atstls.tls.b, its neighbour on floor 2",
                "atstls.tls.c:1: imports atstls.net.a, its neighbour on floor 2",
            ],
        )

    def test_places_without_a_floor_are_found(self) -> None:
        """A new package is put on a floor before it is used."""
        modules = self.modules(attic__box="", tap="import atstls.attic.box")
        self.assertEqual(
            upward_imports(modules),
            [
                "atstls.attic: is on no floor",
                "atstls.attic.box: is on no floor",
                "atstls.tap:1: imports atstls.attic.box, which is on no floor",
            ],
        )

    def test_the_root_imports_nothing(self) -> None:
        """C{import atstls} must not pull in the house."""
        modules = self.modules(__init__='"""Root."""\nfrom atstls.events import X', events="")
        self.assertEqual(upward_imports(modules), ["atstls:2: the root of the package imports atstls.events"])

    def test_circles_are_found(self) -> None:
        """A circle of three, told once, and one of a module with itself."""
        modules = self.modules(
            net__a="import atstls.net.b",
            net__b="import atstls.net.c",
            net__c="from atstls.net import a",
            net__d="import atstls.net.a",
            net__e="import atstls.net.e",
        )
        self.assertEqual(
            circles(modules),
            ["atstls.net.a -> atstls.net.b -> atstls.net.c -> atstls.net.a", "atstls.net.e -> atstls.net.e"],
        )

    def test_a_diamond_is_no_circle(self) -> None:
        """Two ways to the same module are fine."""
        modules = self.modules(
            net__a="import atstls.net.b\nimport atstls.net.c",
            net__b="import atstls.net.d",
            net__c="import atstls.net.d",
            net__d="",
        )
        self.assertEqual(circles(modules), [])

    def test_relative_imports_are_found(self) -> None:
        """With one dot and with two."""
        modules = self.modules(net__a="from . import b\nfrom ..events import X", net__b="")
        self.assertEqual(
            relative_imports(modules), ["atstls.net.a:1: a relative import", "atstls.net.a:2: a relative import"]
        )

    def test_hidden_imports_are_found(self) -> None:
        """In a function, in a method, in a coroutine; not in a class body or under a condition."""
        modules = self.modules(
            net__a=(
                "if True:\n    import os\n"
                "class A:\n    import sys\n    def m(self):\n        import json\n"
                "async def f():\n    from re import match\n"
            )
        )
        self.assertEqual(
            hidden_imports(modules),
            ["atstls.net.a:6: an import inside m()", "atstls.net.a:8: an import inside f()"],
        )

    def test_the_global_reactor_is_found(self) -> None:
        """In the three ways to write it."""
        modules = self.modules(
            net__a="from twisted.internet import defer, reactor",
            net__b="import twisted.internet.reactor",
            net__c="from twisted.internet.reactor import callLater",
            net__d="from twisted.internet.interfaces import IReactorTime",
        )
        self.assertEqual(
            [line.partition(":")[0] for line in global_reactors(modules)],
            ["atstls.net.a", "atstls.net.b", "atstls.net.c"],
        )

    def test_full_packages_are_found(self) -> None:
        """Code in a package's own module; the version of the root may stay."""
        modules = self.modules(
            __init__='"""Root."""\n__version__ = "1"', net____init__="from atstls import events", events=""
        )
        self.assertEqual(
            full_packages(modules),
            ["atstls.net: has no docstring", "atstls.net:1: an __init__.py holds a docstring only"],
        )

    def test_the_door_holds_names_only(self) -> None:
        """Those of its own package; nothing of others', and nothing that does something."""
        names = '"""A door."""\nfrom atstls.endpoints.a import X\n__all__ = ("X",)\n'
        modules = self.modules(endpoints____init__=names, endpoints__a="X = 1")
        self.assertEqual(full_packages(modules), [])
        modules = self.modules(
            endpoints____init__=names + "from atstls.events import Y\nZ = 1", endpoints__a="X = 1", events="Y = 1"
        )
        self.assertEqual(
            [line.partition(": ")[0] for line in full_packages(modules)], ["atstls.endpoints:4", "atstls.endpoints:5"]
        )

    def test_private_names_are_found(self) -> None:
        """Imported, as an attribute, and by name; the engine may."""
        dirty = "from OpenSSL import _util\nimport OpenSSL._util\nx._ssl\ngetattr(x, '_into_ssl')\n"
        modules = self.modules(
            tls__engine=dirty,
            tls__contexts=dirty + "from OpenSSL._util import lib\nfrom OpenSSL.SSL import _require_not_used\n",
            tls__verify="from OpenSSL import SSL\nself._context\ngetattr(x, name)\n",
        )
        self.assertEqual(
            [line.replace("atstls.tls.contexts:", "") for line in private_names(modules)],
            [
                "1: imports OpenSSL._util",
                "2: imports OpenSSL._util.None",
                "5: imports OpenSSL._util.lib",
                "6: imports OpenSSL.SSL._require_not_used",
                "3: uses _ssl",
                "4: uses _into_ssl",
            ],
        )
