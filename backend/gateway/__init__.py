"""The HTTP and WebSocket face: queue protocol, control API, metrics.

`app.py`          the application, and serving it
`auth.py`         tokens and signatures
`catalog.py`      deployed services, kept fresh
`hub.py`          the one subscription of this process, and who waits for what
`answers.py`      errors as answers
`queue_api.py`    the queue protocol; `queue_request.py` reads its queries, `watching.py` serves its watchers
`control_api.py`  services, tasks, instances; `task_stream.py` follows a task as server-sent events
`liveness.py`     whether a websocket client is still there
`metrics.py`      counters for Prometheus
"""
