# -*- test-case-name: tests.test_config -*-
"""
The reference of the configuration for the manual, made from the same fields as the loader.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Final

import attrs

from atstls.edge.config import HEADERS
from atstls.edge.rules import CertificateConfig, ListenConfig, SNIConfig
from atstls.edge.settings import LATER, EdgeConfig, NetConfig, SSLConfig
from atstls.edge.values import keys_of

SETTINGS: Final[tuple[type[attrs.AttrsInstance], ...]] = (
    EdgeConfig,
    NetConfig,
    SSLConfig,
    ListenConfig,
    CertificateConfig,
    SNIConfig,
)

_COLUMNS = ("Key", "Type", "Range", "Default", "Meaning")
_MARKUP = re.compile(r"([*`|_\\])")


def reference_rst() -> str:
    """
    Every section with every key: type, range, default and meaning, as reStructuredText; and what is refused, and why.
    """
    lines = [line for settings in SETTINGS for line in _section(settings)]
    return "\n".join([*lines, *_refused()])


def _refused() -> Iterator[str]:
    title = "What Traffic Server has and this version refuses"
    yield from (title, "-" * len(title), "")
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: auto", "")
    yield from _row(("Section", "Key", "Why"))
    for kind, keys in LATER.items():
        for name, reason in keys.items():
            yield from _row((f"``{HEADERS[kind]}``", f"``{name}``", _plain(reason or "not built")))
    yield ""


def _section(settings: type[attrs.AttrsInstance]) -> Iterator[str]:
    kind = settings.section  # type: ignore[attr-defined]  # each of SETTINGS has it
    header = HEADERS[kind]
    yield from (header, "-" * len(header), "")
    yield from (_plain(_summary(settings)), "")
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: auto", "")
    yield from _row(_COLUMNS)
    for key, attribute in keys_of(settings):
        meaning = key.meaning
        default = key.written(attribute.default)
        yield from _row(
            (
                f"``{key.name}``",
                _plain(key.kind.noun),
                _plain(key.kind.span),
                f"``{default}``" if default else "none",
                _plain(meaning),
            )
        )
    yield ""


def _summary(settings: type[attrs.AttrsInstance]) -> str:
    """The first paragraph of the class's docstring."""
    text = inspect.getdoc(settings) or ""
    return " ".join(text.split("\n\n")[0].split())


def _row(cells: tuple[str, ...]) -> Iterator[str]:
    for index, cell in enumerate(cells):
        yield f"   {'  -' if index else '* -'} {cell}".rstrip()


def _plain(text: str) -> str:
    """C{text} without meaning to reStructuredText."""
    return _MARKUP.sub(r"\\\1", text)
