``max_connections_in``, ``max_requests_in``, ``per_client.max_connections_in`` with ``per_client.connection.exempt_list``
and ``per_client.connection.alert_delay``, and ``throttle_message`` in ``[net]`` say how many may come in, and what those
are told who may not.
