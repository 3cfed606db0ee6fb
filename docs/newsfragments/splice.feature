Blind tunnels are carried by the kernel on Linux: no byte is copied into the process.
