"""Other servers' samples in our own queries: the client side of remote read."""
