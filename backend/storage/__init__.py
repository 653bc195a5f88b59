"""What stands behind `storage[]`: folders of the machine, and object stores whose files come and go with the tasks.

`mounts.py`       from a description to the folders that tasks use in its place, and texts with paths mapped to them
`credentials.py`  the keys of an object store: from the environment or a file, never from a description
`objects.py`      the one door to object stores: S3 through fsspec's s3fs
`records.py`      what is known of each file on this machine that has a counterpart in a store
`fetch.py`        inputs: once for all instances of a machine, within a budget
`upload.py`       one file to a store: resumable, checked
`following.py`    what a run writes, on its way while it runs
`repository.py`   a git repository as a folder
`retention.py`    what is kept of what tasks leave behind, for how long (pure)
`housekeeping.py` removes the rest; how full the disk is
`packages.py`     Python packages of one service, layered over those of lorapool
"""
