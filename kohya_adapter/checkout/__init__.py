"""An existing kohya_ss checkout whose *Start training* goes to a pool.

`pool_process.py` is run inside kohya_ss's own Python: it needs nothing but the standard library, from 3.10 on, and
changes no file of the checkout. `command.py` starts it from lorapool's side.
"""
