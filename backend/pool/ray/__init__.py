"""Instances as actors of a Ray cluster: Ray finds the node, keeps the GPUs apart and sees nodes come and go.

`needs.py`     what an instance asks of a node, and how many more of them fit (pure)
`actors.py`    what runs on the nodes: a keeper of warm templates on each, and one actor for each instance
`driver.py`    a process of its own that talks to Ray, so that no call to a cluster ever keeps the supervisor waiting
`launcher.py`  the `Launcher` over it

Needs the extra `lorapool[ray]`, here and on the nodes.
"""
