"""
atstls: a TLS edge for Twisted, after Apache Traffic Server's SSLNetVConnection.

A TLS connection is an ordinary connection: its user asks for bytes through a VIO and is told of events; that TLS is
underneath it never sees.  The floors, from the words up to the program, are drawn in C{docs/architecture.rst}.
"""

__version__ = "0.1.0"
