``AcceptOptions`` has a back door, which lets an operator in when there are too many connections, and deferred accept.
