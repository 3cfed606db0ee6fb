A producer that pushes is not paused while the kernel takes what it writes, for up to a millisecond between two turns; a large download from ``twisted.web`` costs a sixth less.
