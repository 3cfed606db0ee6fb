``server.groups_list`` (one group), ``server.prioritize_chacha``, ``client.cipher_suite``, ``client.TLSv1_3.cipher_suites``
and ``client.CA.cert.path`` in ``[ssl]`` are there; a key of Traffic Server's that is not says why.
