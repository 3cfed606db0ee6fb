"""Twisted's own tests, pointed at our endpoints and transports."""
