Bytes over TLS that a network brings packet by packet wake the process once for each record, and not for each packet: on Linux the kernel waits for the rest of a record that has begun.
