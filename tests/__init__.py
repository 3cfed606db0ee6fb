"""Unit tests: no reactor, no real time."""
