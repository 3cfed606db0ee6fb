"""
Installs atstls and its twistd plugin.  The settings of the tools stand in C{pyproject.toml}.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

# Each lower bound is a version that was tried: in a fresh environment with all of them at once, on Python 3.10 and on
# 3.11, Twisted's own tests of TLS and HTTP/2, and the tests of this project (on 3.10).
INSTALL_REQUIRES = [
    # pyOpenSSL 26.2 freezes a Context at its first use, and Twisted 25.5 still changes one afterwards: with it
    # Twisted's own end-to-end test of HTTP/2 over TLS fails (twisted #12500, #12639), with 26.4 it passes.
    "Twisted[tls,http2] >= 26.4.0",
    # The first with Connection.set_options, and the first that refuses to change a Context that is in use.
    "pyOpenSSL >= 26.2.0",
    # 24.1 reads names with a call that this pyOpenSSL no longer has.
    "service-identity >= 24.2.0",
    "zope.interface >= 6.0",
    # The oldest that pyOpenSSL 26.2 takes.
    "cryptography >= 46.0.0",
    "attrs >= 22.2.0",
]

DEV_REQUIRES = [
    "coverage >= 7.10",  # the first with `patch = subprocess`
    "hypothesis",
    "PyHamcrest >= 2",  # Twisted's own tests, which tests/conformance uses, need it
    "mypy >= 1.18",
    "mypy-zope >= 1.0.13",
    "pydoctor >= 25.4",
    "ruff >= 0.9",
    "sphinx >= 7",
    "towncrier >= 24",
    "treq >= 24",
    "trustme >= 1.2",
]


def version() -> str:
    """C{__version__} of the package, read without importing it: what it imports may not be installed yet."""
    text = (HERE / "atstls" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("atstls/__init__.py holds no __version__")
    return found.group(1)


setup(
    name="atstls",
    version=version(),
    description="A TLS edge for Twisted, after Apache Traffic Server's SSLNetVConnection",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: Proxy Servers",
        "Topic :: Security :: Cryptography",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # twisted.plugins is named without its parent: our plugin files go beside Twisted's own, and no __init__.py of
    # ours may stand in the place of Twisted's.
    packages=[*find_packages(include=["atstls", "atstls.*"]), "twisted.plugins"],
    # Said although it is the default: it lets an editable install put this directory itself on sys.path, and twistd
    # finds plugins only along sys.path.
    package_dir={"": "."},
    package_data={"atstls": ["py.typed"]},
    install_requires=INSTALL_REQUIRES,
    extras_require={"dev": DEV_REQUIRES},
    zip_safe=False,
)
