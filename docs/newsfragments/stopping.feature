SIGTERM drains: nothing new is accepted, and what is running has ``drain_timeout`` seconds to end.
