``ssl_ca_name`` and ``ssl_key_dialog = exec:COMMAND`` in ``[certificate]`` are there.
