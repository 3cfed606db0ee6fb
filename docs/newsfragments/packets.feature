``defer_accept``, ``sock_packet_mark_in`` and ``_out``, ``sock_packet_tos_in`` and ``_out`` in ``[net]`` are there.
