A route may have ``$1`` in its host, for what the star of its rule stands for, and ``{inbound_local_port}`` or
``{proxy_protocol_port}`` in the place of its port, within ``connect_ports``.
