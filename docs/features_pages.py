"""
The pages of the features, made from the table in C{tests/features.py} each time that the documents are built.

One has the features by section, each with its state and links to the tests that prove it; the other has these tests,
each with its own words.
"""

import re
from collections.abc import Iterable

from tests import features
from tests.features import CANNOT, NOT_YET, STATES, WORKS, Feature
from tests.integration.gold import GOLD

_STATE_WORDS = {WORKS: "works", CANNOT: "**cannot**", NOT_YET: "**not yet**"}


def check() -> None:
    """
    Look whether the table can be believed.

    @raise ValueError: it cannot; each mistake has a line.
    """
    found = features.mistakes()
    if found:
        raise ValueError("\n".join(["tests/features.py:", *found]))


def overview() -> str:
    """How many there are, by section and state."""
    lines = _table("50 15 12 12 11", ["", "rows", *STATES])
    total = dict.fromkeys(STATES, 0)
    for section in features.SECTIONS:
        counts = {state: sum(feature.state == state for feature in section.features) for state in STATES}
        for state in STATES:
            total[state] += counts[state]
        span = section.span.replace("-", " to ")
        cells = [f":ref:`{section.title} <{_label(section.span)}>`", span, *map(str, counts.values())]
        lines += _row(cell if cell != "0" else "" for cell in cells)
    lines += _row(["all", str(sum(total.values())), *map(str, total.values())])
    return _text(lines)


def sections() -> str:
    """The features."""
    lines = []
    for section in features.SECTIONS:
        lines += [f".. _{_label(section.span)}:", "", section.title, "-" * len(section.title), ""]
        if section.span.startswith("O"):
            lines += _table("6 35 35 24", ["", "Traffic Server", "here", "tests"])
            for feature in section.features:
                here = _escaped(feature.note)
                if feature.state != WORKS:
                    here = f"{_STATE_WORDS[feature.state]}: {here}"
                lines += _row([feature.id, _escaped(feature.text), here, _links(feature.tests)])
        else:
            lines += _table("8 50 10 32", ["", "what", "state", "tests"])
            for feature in section.features:
                lines += _row([feature.id, _words(feature), _STATE_WORDS[feature.state], _links(feature.tests)])
        lines.append("")
    return _text(lines)


def gold() -> str:
    """Traffic Server's own tests of its TLS, and where each stands."""
    lines = _table("26 38 36", ["gold test", "shown by", "not shown"])
    for test in GOLD:
        names = features.gold_tests(test.tests)
        lines += _row([_escaped(test.name), _links(names), _escaped(test.missing)])
    return _text(lines)


def proofs() -> str:
    """All tests that the other page names, by module."""
    named = {test for feature in features.every() for test in feature.tests}
    named |= {test for entry in GOLD for test in features.gold_tests(entry.tests)}
    modules: dict[str, list[tuple[str, str, str]]] = {}
    for test in named:
        module, name = features.module_of(test)
        modules.setdefault(module, []).append((name, test, features.methods(module)[name]))
    lines = []
    for module in sorted(modules, key=lambda name: (name.startswith("integration."), name)):
        folder, _, name = module.rpartition(".")
        path = "/".join(part for part in ("tests", folder, f"test_{name}.py") if part)
        lines += [path, "-" * len(path), ""]
        order = list(features.methods(module))
        for name, test, words in sorted(modules[module], key=lambda entry: order.index(entry[0])):
            lines += [f".. _{_label(test)}:", "", f"``{name}``", f"    {_docstring(words)}", ""]
    return _text(lines)


def _words(feature: Feature) -> str:
    return _escaped(feature.text) + (f"\n\n*{_escaped(feature.note)}*" if feature.note else "")


def _links(tests: Iterable[str]) -> str:
    return "\n".join(f"| :ref:`{test.rpartition('.')[2].removeprefix('test_')} <{_label(test)}>`" for test in tests)


def _label(name: str) -> str:
    return "feature-" + name.lower().replace(".", "-")


def _escaped(words: str) -> str:
    return re.sub(r"([\\*`|])", r"\\\1", re.sub(r"_(?!\w)", r"\\_", words))


def _docstring(words: str) -> str:
    """The words of a test's docstring, whose marks are epytext's."""
    pieces = re.split(r"[CLI]\{([^{}]*)\}", words)
    return "".join(f"``{piece}``" if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))


def _table(widths: str, heads: list[str]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :class: features", f"   :widths: {widths}", ""]
    return lines + _row(heads)


def _row(cells: Iterable[str]) -> list[str]:
    lines = []
    for number, cell in enumerate(cells):
        first, *rest = cell.split("\n") or [""]
        lines.append(f"   {'* -' if number == 0 else '  -'} {first}".rstrip())
        lines += [f"       {line}".rstrip() for line in rest]
    return lines


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
