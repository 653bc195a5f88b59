"""Tools for LoRA files, run as tasks of a queue: `python -m backend.tools verify|resize|merge|grid …`.

`__main__.py`  the command line; what it says about itself goes to `PROGRESS_FD`
`arguments.py` its arguments, and paths that are proved to lie in the data folder      no torch
`lora.py`      a kohya LoRA file as modules of factors; writing one with its hashes
`decompose.py` the singular values of a product of factors, and the rank to keep of them
`verify.py`    whether a file is whole, finite and what it says it is
`resize.py`    the same LoRA at another rank
`merge.py`     several LoRAs as one
`grid.py`      prompts × checkpoints, drawn and put on one sheet
"""
