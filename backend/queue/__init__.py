"""The queues of a service as the queue protocol sees them.

`frames.py`   protobuf and JSON forms of items and attributes
`contract.py` what the gateway asks of any queue
`stream.py`   a stream queue: the sink, and both queues of `Queue` and `Async` services
`source.py`   the input queue of a service whose instances we run: its waiting tasks
"""
