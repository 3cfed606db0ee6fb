Clients are asked for a certificate by ``client.certification_level`` in ``[ssl]`` or ``verify_client`` for one name, and
``server_cipher_suite``, ``ssl_ticket_enabled``, ``client_cert`` and ``client_key`` can be set for one name as well.
