A connection can be asked what is spoken on it (``populate_protocol``), have its options changed (``apply_options``), send
urgent data (``send_OOB``, without TLS), and tell when its write buffer is empty (``trap_write_buffer_empty``).
