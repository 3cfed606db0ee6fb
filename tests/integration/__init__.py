"""Tests that start the real twistd and speak to it with real clients."""
