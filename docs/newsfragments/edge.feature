``twistd atstls`` is a TLS edge that terminates, forwards, re-encrypts, tunnels and serves, by listener and by
server name, from one ``tap.cfg``.
