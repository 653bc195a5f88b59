"""The built-in trainer as a program: `train_network.py` with sd-scripts' arguments.

Runs under `accelerate launch`, as `python -m backend.training.train_network`, and as `main(argv)` in a process forked
from a template that has called `preload`. Progress records go to the descriptor in `PROGRESS_FD`, lines for people to
standard output, the reason of a failure to standard error in one line.

Exit codes: 0 the LoRA is written; 1 the run failed; 2 the arguments or files are not usable, nothing was written; 85
the state was saved on SIGUSR1; 130, 143 stopped at once by SIGINT, SIGTERM.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

if not __package__:
    # Started as a script: its own folder must not shadow other packages' modules.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from backend.errors import InvalidInput, LorapoolError
from backend.training import checks, preload
from backend.training.argument_table import rows
from backend.training.arguments import DATA_DIR, parse
from backend.training.progress import Reporter, from_environment
from backend.training.stopping import SAVED_FOR_LATER, SavedForLater, Stopped, StopRequest, listening
from backend.training.training_arguments import TrainingArguments


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says; the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if "--help" in words or "-h" in words:
        print(_usage())
        return 0
    reporter = from_environment()
    try:
        with listening() as stop:
            data_dir = os.environ.get(DATA_DIR)
            args = parse(words, data_dir=Path(data_dir) if data_dir else None)
            prepared = checks.prepare(args)
            checks.check_machine(args)
            _note(args, prepared.report.warnings, reporter)
            output = _trainer()(args, prepared, reporter, stop)
            reporter.result(output, prepared.report.total_steps)
            reporter.log(f"model saved: {output}")
            return 0
    except SavedForLater:
        reporter.log("stopped as asked; the run can be resumed from its state")
        return SAVED_FOR_LATER
    except Stopped as signal:
        reporter.log("stopped as asked; the checkpoints written so far are kept")
        return 128 + signal.number
    except InvalidInput as error:
        return _fail(reporter, str(error), 2)
    except LorapoolError as error:
        return _fail(reporter, str(error), 1)
    except Exception as error:
        return _fail(reporter, _reason(error, reporter), 1)


def _trainer() -> Callable[[TrainingArguments, checks.Prepared, Reporter, StopRequest], Path]:
    """The part that needs torch: imported only once the arguments are known to be good."""
    preload.make_quiet()
    from backend.training import run

    return run.train


def _note(args: TrainingArguments, warnings: tuple[str, ...], reporter: Reporter) -> None:
    for text in (*args.notes, *warnings):
        reporter.log(text)
    if args.xformers or args.mem_eff_attn:
        reporter.log(
            "attention is PyTorch's scaled dot product, which is as sparing as xformers and mem_eff_attn"
        )


def _reason(error: Exception, reporter: Reporter) -> str:
    """The true reason in one line; the whole traceback goes to the log where it is a surprise."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; what was saved before is whole. Make room and start again or resume"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU has not enough memory; lower train_batch_size or resolution, or turn on gradient_checkpointing"
    reporter.log("".join(traceback.format_exception(error)).rstrip())
    return f"{type(error).__name__}: {error}"


def _fail(reporter: Reporter, reason: str, code: int) -> int:
    line = " ".join(reason.split())
    reporter.failed(line)
    sys.stdout.flush()
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code


def _usage() -> str:
    names = "\n".join(
        f"  --{row.name}{'' if row.kind == 'flag' else ' ' + row.kind.upper() + (' …' if row.many else '')}"
        for row in rows().values()
        if row.support == "yes"
    )
    return f"train_network.py [--config_file FILE.toml] [--name value …]\n\nArguments, as in sd-scripts:\n{names}"


if __name__ == "__main__":
    sys.exit(main())
