``wire_trace_enabled`` and its conditions have what is said inside TLS written to the log, for chosen connections, on the
client's side and on the origin's.
