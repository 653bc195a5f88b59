"""A Kubernetes control plane for tests: a real HTTPS server with the API's own semantics, and nodes that run pods.

`objects.py`   objects with resource versions and uids; graceful deletion, finalizers, owners; a bounded history
`rules.py`     what the API server refuses: wrong objects, names, labels, immutable fields, quotas
`server.py`    the HTTP face: lists in pages, watches with bookmarks and 410, tokens, roles, faults on order
`nodes.py`     scheduler and kubelets: pods are bound, started (as real processes, if wished), evicted, lost
`cluster.py`   all of it together, with a kube-config
"""
