"""TLS without input or output: no reactor, no socket, no clock, no logging."""
