"""Forwarding: what the log holds is sent on to other storage, by remote write."""
