# -*- test-case-name: tests.test_config -*-
"""
An INI file as it stands: sections, keys and texts in their order, and everything that is wrong with its form.

C{configparser} reads it, since its INI is the one that people know.  But it stops at the first thing written twice,
and does not tell where a key stood, while an operator wants all mistakes at once and in order.  Both are had with what
it offers to everyone.  It takes the lines from L{_Lines}, which counts them; and the names of keys and sections get
the number of their line behind them, keys in C{optionxform}, headers on their way in.  So each name is there once
for configparser, and says where it stood.  Between a name and its number is a NUL, which is refused in the file itself.

A line of ours goes ahead of the file and opens a section without a name.  What is before the first header falls into
it, where configparser would have given up.

Not chosen: to parse anew without the offending line after each error, which takes a time quadratic in their number; and
a parser of our own, which would be as long as this module and know a slightly different INI.
"""

import configparser
import io
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from atstls.edge.values import shown

_HEADER = re.compile(r"(\s*\[[^\]]*)\]")
_MARK = re.compile(r"\0[0-9]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@attrs.frozen(order=True)
class Complaint:
    """
    Something wrong.

    @ivar line: where, counted from 1; 0 for the file as a whole.
    @ivar text: C{[section] key: what is wrong, what is allowed}.
    """

    line: int
    text: str


@attrs.frozen
class Entry:
    """A key with its text, and the line on which it stands."""

    key: str
    text: str
    line: int


@attrs.frozen
class Section:
    """
    @ivar kind: the first word of the header.
    @ivar name: the rest of it, C{None} when there is none.
    @ivar line: where the header stands.
    @ivar entries: the keys by their names, each once.
    """

    kind: str
    name: str | None
    line: int
    entries: dict[str, Entry]

    @property
    def header(self) -> str:
        """As it stands in messages."""
        return f"[{self.kind}]" if self.name is None else f"[{self.kind} {self.name}]"

    def complaint(self, wrong: str, key: str | None = None) -> Complaint:
        """
        Something wrong in this section.

        @param key: where; C{None} for the section as a whole.
        """
        if key is None:
            return Complaint(self.line, f"{self.header}: {wrong}")
        entry = self.entries.get(key)
        return Complaint(entry.line if entry else self.line, f"{self.header} {key}: {wrong}")


class _Lines:
    """
    The lines of a file for the parser, with the marks that this module needs.

    @ivar number: of the line that the parser has got last.
    """

    def __init__(self, text: str) -> None:
        # Line ends as open() knows them; str.splitlines() knows many more.
        self.texts = io.StringIO(text, newline=None).readlines()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        yield self.marked("[") + "]\n"
        for number, text in enumerate(self.texts, 1):
            self.number = number
            # What looks like a header may be the second line of a value, from which the mark is taken out again.
            header = _HEADER.match(text)
            yield text if header is None else self.marked(header[1]) + text[header.end() - 1 :]

    def marked(self, name: str) -> str:
        """C{name} with the number of the line behind it."""
        return f"{name}\0{self.number}"


def _unmarked(name: str) -> tuple[str, int]:
    name, _, number = name.rpartition("\0")
    return _MARK.sub("", name), int(number)


class _Parser(configparser.RawConfigParser):
    # Nothing may stand behind a header; configparser's own pattern goes to the last bracket on the line.
    SECTCRE = re.compile(r"\[(?P<header>[^\]]+)\]$")

    def __init__(self, lines: _Lines) -> None:
        super().__init__(
            interpolation=None,
            comment_prefixes=(";", "#"),
            inline_comment_prefixes=(";",),
            empty_lines_in_values=False,
            # No header is empty, so that no section is special.
            default_section="",
        )
        self.lines = lines

    def optionxform(self, optionstr: str) -> str:
        return self.lines.marked(optionstr)


def read(path: Path) -> tuple[list[Section], list[Complaint]]:
    """
    Read the file C{path}.

    @return: its sections in their order, as far as they could be read, and what is wrong with the form of the file.
    """
    try:
        # The first character of what some editors write on Windows is a byte order mark, which is no text.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        return [], [Complaint(0, f"cannot be read: {exc.strerror}, allowed: a readable file")]
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        return [], [Complaint(line, f"line {line}: {exc.reason}, allowed: text in UTF-8")]
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return [], [Complaint(line, f"line {line}: {shown(found[0])} is a control character, allowed: text")]
    return parse(text)


def parse(text: str) -> tuple[list[Section], list[Complaint]]:
    """
    Read C{text}, which has no control characters but line ends and tabulators.

    @return: as L{read}.
    """
    lines = _Lines(text)
    parser = _Parser(lines)
    complaints = []
    try:
        parser.read_file(lines)
    except configparser.ParsingError as exc:
        # configparser has read the rest all the same.  It has counted the line that we put in front.
        for number in {number - 1 for number, _ in exc.errors}:
            wrong = shown(lines.texts[number - 1].strip())
            complaints.append(Complaint(number, f"line {number}: {wrong} is no entry, allowed: KEY = VALUE"))
    sections = []
    for header in parser.sections():
        title, line = _unmarked(header)
        kind, *rest = title.split() or [""]
        section = Section(kind, " ".join(rest) or None, line, {})
        for key, value in parser.items(header):
            complaints.extend(_enter(section, key, _MARK.sub("", value)))
        if line:
            sections.append(section)
    return sections, complaints


def _enter(section: Section, marked: str, text: str) -> Iterator[Complaint]:
    key, line = _unmarked(marked)
    if not section.line:
        yield Complaint(line, f"{key}: stands before the first section, allowed: a key below its [section]")
    elif first := section.entries.get(key):
        yield Complaint(line, f"{section.header} {key}: is there already on line {first.line}, allowed: once")
    elif key:  # a line without one was complained about by the parser
        section.entries[key] = Entry(key, text, line)
