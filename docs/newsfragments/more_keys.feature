``server.groups_list`` (one group), ``server.prioritize_chacha``, ``client.cipher_suite``, ``client.TLSv1_3.cipher_suites``,
``client.CA.cert.path``, ``server.cert.path`` and ``server.private_key.path`` in ``[ssl]`` are there; a key of Traffic
Server's that is not says why.
