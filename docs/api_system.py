"""
What pydoctor is told about links: those into this package must lead somewhere, those out of it may lead nowhere.

Docstrings name things of Twisted, pyOpenSSL and Python itself.  To link them pydoctor would have to fetch the
inventories of those projects at each build, so they stay plain text.  A name of ours that leads nowhere is a mistake in
a docstring, and fails the build.
"""

import builtins
import re
from typing import Any

from pydoctor import model

_TARGET = re.compile(r'Cannot find link target for "([^"]+)"')
_OUTSIDE = frozenset({"OpenSSL", "attrs", "cryptography", "service_identity", "twisted", "zope", *vars(builtins)})


class System(model.System):
    """pydoctor's own, without its complaints about names outside of this package."""

    def msg(self, section: str, msg: str, *args: Any, **kwargs: Any) -> None:
        """Tell the reader of the build C{msg}, and count it if it is a complaint."""
        found = _TARGET.search(msg)
        if found is None or found.group(1).partition(".")[0] not in _OUTSIDE:
            super().msg(section, msg, *args, **kwargs)
