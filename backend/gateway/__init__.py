"""The HTTP and WebSocket face: queue protocol, control API, metrics.

`app.py`              the application, and serving it
`context.py`          what the handlers share
`auth.py`             tokens and signatures
`catalog.py`          deployed services, kept fresh
`hub.py`              the one subscription of this process, and who waits for what
`answers.py`          errors as answers

`queue_api.py`        the queue protocol: from a request to its queue
`queue_request.py`    reads paths, parameters, tags and headers; `body.py` bodies
`queue_operations.py` each operation on one queue, from a request to its answer
`watching.py`         watchers' connections; `session.py` one consumer; `bench.py` who is woken; `line.py` the socket
`rate.py`             requests per second
`discovery.py`        the address that clients of the type `DIRECT` ask for; `listening.py` the socket listened on
`queue_docs.py`       its part of the OpenAPI document

`scaling_api.py`      how many instances a service wants, for autoscalers of others
`services_api.py`     services, instances, decisions, everything that changes
`service_control.py`  changing services: create, update, remove, stop, start, scale
`tasks_api.py`        tasks, logs, files; `submit.py` takes a task; `task_stream.py` follows one
`deleting.py`         removes a task; `job_files.py` what it has left on the disk
`loras_api.py`        the LoRAs of many as one zip, which `zipped.py` makes
`box_files.py`        files for boxes that do not see the data folder; `box_needs.py` says what a task uses,
                      `box_rights.py` who may
`bounded.py`          no body is read without end
`task_views.py`       records as views
`metrics.py`          counters for Prometheus; `gauges.py` what the deployment looks like
"""
