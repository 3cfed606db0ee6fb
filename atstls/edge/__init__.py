"""The program: configuration, routes by server name, certificates on disk, services."""
