Uploads over TLS are read up to 128 KiB at a time, and while there is always more, up to 16 turns follow each other within a millisecond before the reactor has its say.
