"""`python -m benchmarks [NAME …]` runs all of them, or the named ones, and prints what each measured."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main() -> int:
    names = sys.argv[1:] or [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    for name in names:
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n", flush=True)
        module.main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
