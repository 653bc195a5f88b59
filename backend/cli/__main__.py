"""`python -m backend.cli`: how lorapool starts its own processes."""

from backend.cli import main

main()
