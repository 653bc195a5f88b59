"""Says in one line what to do when this Python cannot carry lorapool."""

import sys

MINIMUM = (3, 11)

if sys.version_info < MINIMUM:
    sys.exit(
        f"lorapool needs Python {MINIMUM[0]}.{MINIMUM[1]} or newer; this is {sys.version.split()[0]}.\n"
        "Install a newer one and name it: make demo PYTHON=python3.12"
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        "This Python has no venv module. On Debian and Ubuntu: sudo apt-get install python3-venv, then try again."
    )
