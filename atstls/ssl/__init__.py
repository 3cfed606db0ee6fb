"""TLS connections: a sub-state-machine inside the read and the write of a TCP connection."""
