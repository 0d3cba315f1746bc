"""HTTP in, JSON out: the Prometheus-compatible API."""
