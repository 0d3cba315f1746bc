"""Targets from the objects of a Kubernetes cluster.

From: `kubernetes_sd_configs`, as `settings.py`.   To: `combine.py`, through `discovery.py`.

    access.py ─▶ client.py ─▶ watches.py ─objects─▶ store.py ─▶ node.py, pod.py ... ─groups─▶
"""
