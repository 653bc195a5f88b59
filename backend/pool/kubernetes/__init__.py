"""Instances as pods of a Kubernetes cluster: one pod each, watched, marked while busy, and removed.

`api.py`       the door to the API server: deadlines, TLS, tokens, what it answers
`watch.py`     the pods as they are: list, watch with bookmarks, list again after 410
`pod.py`       the pod of an instance, from the description of its service and the template (pure)
`words.py`     what has become of a pod, and why, in words for a person (pure)
`stages.py`    how far the starts are
`wishes.py`    what is wanted of each pod, and what is to be done for it now (pure)
`launcher.py`  the `Launcher` over all of it

Needs the extra `lorapool[k8s]`.
"""
