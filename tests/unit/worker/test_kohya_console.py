"""Consoles of real sd-scripts runs, and drawn ones at any width, in colour, cut anywhere: the same facts come out."""

from __future__ import annotations

import io
import logging
import random
import resource
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from rich.logging import RichHandler
from tqdm import tqdm

from backend.records import Failed, FileWritten, Phase, Progress, Record, Result
from backend.worker.kohya_console import KohyaConsole

DATA = Path(__file__).parent / "data"
SIMPLE = (DATA / "console_simple.txt").read_bytes()
RICH = (DATA / "console_rich.txt").read_bytes()


def read(chunks: Iterable[bytes], console: KohyaConsole | None = None) -> tuple[list[str], list[Record]]:
    console = console or KohyaConsole()
    lines: list[str] = []
    records: list[Record] = []
    for said in [*map(console.feed, chunks), console.close()]:
        lines += said[0]
        records += said[1]
    return lines, records


def records_of(text: bytes | str, console: KohyaConsole | None = None) -> list[Record]:
    return read([text.encode() if isinstance(text, str) else text], console)[1]


def steps(records: list[Record]) -> list[tuple[int, int | None, float | None]]:
    return [(record.step, record.epoch, record.loss) for record in records if isinstance(record, Progress)]


def files(records: list[Record]) -> list[tuple[str, str, int | None]]:
    return [(r.kind, r.path, r.step) for r in records if isinstance(r, FileWritten)]


def phases(records: list[Record]) -> list[str]:
    return [record.name for record in records if isinstance(record, Phase)]


def cut(text: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    borders = sorted(chance.sample(range(len(text)), 400))
    return [text[a:b] for a, b in zip([0, *borders], [*borders, len(text)], strict=True)]


def test_the_simple_console_of_a_real_run_with_validation_and_states() -> None:
    records = records_of(SIMPLE)
    losses = [0.966, 0.997, 1.05, 1.01, 0.817, 0.863, 0.893, 0.803, 0.863, 0.99]
    expected = [(0, None, None), *((n + 1, 1 + n // 5, loss) for n, loss in enumerate(losses))]
    assert steps(records) == expected
    assert files(records) == [
        ("checkpoint", "/data/out9/tiny-000001.safetensors", 5),
        ("state", "/data/out9/tiny-000001-state", 5),
        ("state", "/data/out9/tiny-state", 10),
        ("lora", "/data/out9/tiny.safetensors", 10),
    ]
    assert records[-1] == Result("/data/out9/tiny.safetensors", 10)
    assert {record.total for record in records if isinstance(record, Progress)} == {10}
    assert [name for name in phases(records) if name not in ("training", "validating")][-2:] == [
        "painting samples",
        "painting samples",
    ]
    assert "validating" in phases(records) and "caching latents" in phases(records)


def test_the_rich_console_of_a_real_run_wrapped_at_80_columns() -> None:
    lines, records = read([RICH])
    losses = [0.987, 1.01, 1.07, 1.02, 1.03, 1.06, 1.02, 1.04, 0.959, 1.01, 0.846, 0.813]
    expected = [(0, None, None), *((n + 1, 1 + n // 6, loss) for n, loss in enumerate(losses))]
    assert steps(records) == expected
    assert files(records) == [
        ("checkpoint", "/data/out9/tiny-000001.safetensors", 6),
        ("state", "/data/out9/tiny-000001-state", 6),
        ("state", "/data/out9/tiny-state", 12),
        ("lora", "/data/out9/tiny.safetensors", 12),
    ]
    assert "load tokenizer from cache: /data/tiny/tok/openai_clip-vit-large-patch14" in lines
    assert "WARNING: no regularization images / 正則化画像が見つかりませんでした" in lines
    assert "    caption_dropout_every_n_epochs: 0" in lines
    assert "found directory /data/tiny/data/img/3_sks cat contains 4 image files" in lines


@pytest.mark.parametrize("text", [SIMPLE, RICH], ids=["simple", "rich"])
def test_the_log_has_no_colours_no_cursor_movements_and_no_bar_twice_in_a_row(text: bytes) -> None:
    lines, _ = read([text])
    assert not any(char in line for line in lines for char in "\x1b\r\n")
    assert all(line.strip() for line in lines)
    bars = [line.partition("|")[0].rstrip(" 0123456789%") if "%|" in line else "" for line in lines]
    assert not any(first and first == second for first, second in pairwise(bars))


@pytest.mark.parametrize("text", [SIMPLE, RICH], ids=["simple", "rich"])
@pytest.mark.parametrize("seed", range(25))
def test_cut_anywhere_it_says_the_same(text: bytes, seed: int) -> None:
    assert read(cut(text, seed)) == read([text])


@pytest.mark.parametrize("text", [SIMPLE, RICH], ids=["simple", "rich"])
def test_byte_by_byte_it_says_the_same(text: bytes) -> None:
    assert read(text[n : n + 1] for n in range(len(text))) == read([text])


# A run drawn by the real tqdm and the real rich

STATE = "/data/jobs/0123456789abcdef0123456789abcdef/output/katze-000001-state"
SCRIPT: tuple[tuple[str, ...], ...] = (
    ("log", "INFO", "train_util.py:2158", "40 train images with repeats."),
    (
        "log",
        "INFO",
        "config_util.py:580",
        "[Dataset 0]\n  batch_size: 4\n  resolution: (64, 64)\n\n  [Subset 0 of Dataset 0]",
    ),
    (
        "log",
        "INFO",
        "train_util.py:5536",
        "load Diffusers pretrained models: /data/models/a rather long name/of a folder/unet",
    ),
    ("print", "running training / 学習開始"),
    ("print", "  total optimization steps / 学習ステップ数: 4"),
    ("print", "\nepoch 1/2"),
    ("bar", "1", "0.5"),
    ("bar", "2", "0.4"),
    ("print", "\nsaving checkpoint: /data/jobs/1/output/katze-000001.safetensors"),
    (
        "log",
        "INFO",
        "accelerator.py:3241",
        f"Saving current state to {STATE}",
    ),
    (
        "log",
        "INFO",
        "checkpointing.py:170",
        f"Random states saved in {STATE}/random_states_0.pkl",
    ),
    ("log", "INFO", "train_util.py:6394", "generating sample images at step / サンプル画像生成 ステップ: 2"),
    (
        "log",
        "INFO",
        "train_util.py:6542",
        "prompt: a very long prompt of a grey cat that sits on a red chair beside a window, oil painting",
    ),
    ("print", "\nepoch 2/2"),
    ("bar", "3", "0.3"),
    ("bar", "4", "0.2"),
    ("print", "\nsaving checkpoint: /data/jobs/1/output/katze.safetensors"),
    ("log", "INFO", "train_network.py:1729", "model saved."),
)


def drawn(width: int, *, colour: bool) -> bytes:
    """The bytes that a run of `SCRIPT` prints on a terminal of this width."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    handler = RichHandler(console=console, log_time_format="%Y-%m-%d %H:%M:%S")
    bar = tqdm(
        total=4,
        file=out,
        desc="steps",
        smoothing=0,
        ncols=width - 1,
        colour="green" if colour else None,
        mininterval=0,
    )
    for kind, *what in SCRIPT:
        if kind == "print":
            out.write(what[0] + "\n")
        elif kind == "log":
            level, place, message = what
            name, _, number = place.partition(":")
            handler.handle(
                logging.LogRecord("sd", getattr(logging, level), name, int(number), message, (), None)
            )
        else:
            bar.update(1)
            bar.set_postfix(avr_loss=float(what[1]))
    bar.close()
    return out.getvalue().encode()


EXPECTED = [
    ("checkpoint", "/data/jobs/1/output/katze-000001.safetensors", 2),
    ("state", STATE, 2),
    ("lora", "/data/jobs/1/output/katze.safetensors", 4),
]


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "coloured"])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_at_any_width_and_in_colour_it_says_the_same(width: int, colour: bool) -> None:
    text = drawn(width, colour=colour)
    lines, records = read([text])
    assert steps(records) == [(0, None, None), (1, 1, 0.5), (2, 1, 0.4), (3, 2, 0.3), (4, 2, 0.2)]
    assert files(records) == EXPECTED
    assert "load Diffusers pretrained models: /data/models/a rather long name/of a folder/unet" in lines
    assert "  batch_size: 4" in lines and "  [Subset 0 of Dataset 0]" in lines
    assert SCRIPT[12][3] in lines
    for seed in range(5):
        assert read(cut(text, seed)) == (lines, records)


def test_a_bar_that_a_narrow_terminal_cuts_off_still_counts_and_never_gives_half_a_loss() -> None:
    text = drawn(45, colour=False)
    assert list(dict.fromkeys(step for step, _, _ in steps(records_of(text)))) == [0, 1, 2, 3, 4]
    assert {loss for _, _, loss in steps(records_of(text))} <= {None, 0.5, 0.4, 0.3, 0.2}


def bars(*updates: tuple[int, str], total: int = 100) -> str:
    """Bars as sd-scripts draws them: each step once with the loss of the step before, once with its own."""
    text, before = f"\rsteps:   0%|  | 0/{total} [00:00<?, ?it/s]", "0"
    for step, loss in updates:
        head = f"\rsteps: {step * 100 // total:3d}%|##  | {step}/{total} [00:10<00:20, "
        text += f"{head} 2.00s/it, avr_loss={before}]{head} 2.00s/it, avr_loss={loss}]"
        before = loss
    return text


def test_seconds_per_step_and_the_time_left_come_from_the_rate() -> None:
    last = [record for record in records_of(bars((1, "0.1"), (40, "0.1"))) if isinstance(record, Progress)][
        -1
    ]
    assert last.seconds_per_step == 2.0 and last.eta == 120.0
    fast = records_of(
        "\rsteps:  10%|# | 1/10 [00:00<00:02,  4.00it/s]\rsteps:  10%|# | 1/10 [00:00<00:02,  4.00it/s, avr_loss=1]"
    )
    assert [record.seconds_per_step for record in fast if isinstance(record, Progress)] == [0.25]


def test_a_step_is_told_as_soon_as_its_loss_is_drawn() -> None:
    console = KohyaConsole()
    console.feed(bars((1, "0.1")).encode())
    _, records = console.feed(
        bars((2, "0.3")).encode().split(b"\rsteps:   0%", 1)[1].partition(b"\r")[2].join([b"\r", b""])
    )
    assert steps(records)[-1] == (2, None, 0.3)


def test_steps_count_on_over_a_resume() -> None:
    text = "skipping 10 steps / 10ステップをスキップします\n  total optimization steps / 学習ステップ数: 18\n"
    records = records_of(text + bars((1, "0.5"), (8, "0.4"), total=14))
    assert [(r.step, r.total) for r in records if isinstance(r, Progress)] == [(10, 18), (11, 18), (18, 18)]


def test_what_the_worker_knows_of_earlier_steps_beats_what_sd_scripts_says() -> None:
    text = "skipping 12 steps\n  total optimization steps / 学習ステップ数: 30\n"
    records = records_of(text + bars((1, "0.5"), total=14), KohyaConsole(first_step=18))
    assert [r.step for r in records if isinstance(r, Progress)] == [18, 19]


# Failures

TRACEBACK = """Traceback (most recent call last):
  File "/sd/train_network.py", line 1900, in <module>
    trainer.train(args)
  File "/sd/library/train_util.py", line 4900, in get_optimizer
    import bitsandbytes as bnb
ModuleNotFoundError: No module named 'bitsandbytes'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/sd/library/train_util.py", line 4902, in get_optimizer
    raise ImportError("No bitsandbytes")
ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです
Traceback (most recent call last):
  File "/venv/bin/accelerate", line 8, in <module>
    sys.exit(main())
  File "/venv/accelerate/commands/launch.py", line 800, in simple_launcher
    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)
subprocess.CalledProcessError: Command '['python', 'train_network.py']' returned non-zero exit status 1.
"""


def reason(text: str) -> str:
    found = [record.reason for record in records_of(text) if isinstance(record, Failed)]
    assert len(found) <= 1
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRACEBACK, "bitsandbytes, which is not installed"),
        (
            'Traceback (most recent call last):\n  File "/a.py", line 3, in f\n    g()\n'
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n",
            "lower the batch size or the resolution",
        ),
        (
            'Traceback (most recent call last):\n  File "/sd/lora.py", line 12, in f\n    assert x\nAssertionError\n',
            "AssertionError at lora.py:12",
        ),
        (
            '[rank0]: Traceback (most recent call last):\n[rank0]:   File "/a.py", line 3, in f\n'
            "[rank0]: ValueError: the truth\n"
            'Traceback (most recent call last):\n  File "/b.py", line 1, in m\n'
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n",
            "ValueError: the truth",
        ),
        (
            'AssertionError: resolution is required\nTraceback (most recent call last):\n  File "/a.py", line 3, in f\n'
            "AssertionError: resolution is required / resolution（解像度）指定は必須です\n",
            "AssertionError: resolution is required",
        ),
        (
            "No data found. Please verify arguments (train_data_dir must be the parent) / 画像がありません。\n",
            "no pictures were found",
        ),
        (
            "2026-11-21 19:34:44 ERROR    No data found. Please verify arguments          train_network.py:577\n",
            "no pictures were found",
        ),
        (
            'Traceback (most recent call last):\n  File "/a.py", line 3, in f\n'
            "OSError: [Errno 28] No space left on device\n",
            "the disk is full",
        ),
    ],
)
def test_the_true_reason_of_a_failure_in_one_line(text: str, said: str) -> None:
    found = reason(text)
    assert said in found
    assert (
        "\n" not in found
        and "CalledProcessError" not in found
        and not any("\u3000" < c < "\u9fff" for c in found)
    )


def test_a_loss_that_is_not_a_number_to_the_end_is_a_failure_although_the_model_was_saved() -> None:
    text = bars((1, "0.5"), (2, "nan"), (3, "nan")) + "\nsaving checkpoint: /o/a.safetensors\nmodel saved.\n"
    assert reason(text) == "the loss is not a number since step 2: the training diverged"
    assert any("not a number since step 2" in name for name in phases(records_of(text)))


def test_a_loss_that_recovers_is_none() -> None:
    assert (
        reason(bars((1, "nan"), (2, "0.4")) + "\nsaving checkpoint: /o/a.safetensors\nmodel saved.\n") == ""
    )


def test_an_exception_that_the_run_overcame_is_none() -> None:
    assert (
        reason(TRACEBACK + bars((1, "0.4")) + "\nsaving checkpoint: /o/a.safetensors\nmodel saved.\n") == ""
    )


def test_a_quiet_end_gives_no_reason_of_its_own() -> None:
    assert reason("preparing accelerator\n") == ""


def test_a_checkpoint_that_was_being_written_when_the_run_died_is_not_told() -> None:
    assert files(records_of(bars((1, "0.4")) + "\nsaving checkpoint: /o/a-step00000001.safetensors\n")) == []


# Samples


def test_samples_are_found_in_the_folder_with_their_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "katze_000001_00_20261121193400.png").touch()
    console = KohyaConsole(tmp_path)
    told: list[Record] = []

    def say(text: str) -> None:
        told.extend(console.feed(text.encode())[1])

    say(bars((1, "0.5"), (2, "0.4")) + "\ngenerating sample images at step / サンプル: 2\nprompt: a cat\n")
    (folder / "katze_000002_00_20261121193500_42.png").touch()
    say("prompt: a dog\nseed: 42\n")
    assert files(told) == [("sample", str(folder / "katze_000002_00_20261121193500_42.png"), 2)]
    (folder / "katze_000002_01_20261121193501_42.png").touch()
    say(bars((3, "0.3")).rpartition("\rsteps:   0%|  | 0/100 [00:00<?, ?it/s]")[2])
    samples = [record for record in told if isinstance(record, FileWritten)]
    assert [(sample.label, sample.step) for sample in samples] == [("a cat", 2), ("a dog", 2)]


# Size


def test_100_mb_of_redrawn_bars_stay_in_bounded_memory() -> None:
    wide = "█" * 150
    block = bars(*((step, "0.123") for step in range(1, 100))).replace("##  ", wide).encode() * 8
    console = KohyaConsole()
    console.feed(block)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fed = 0
    while fed < 100 << 20:
        console.feed(block)
        fed += len(block)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10, f"{grown} KiB"


def test_a_line_without_an_end_is_given_in_parts() -> None:
    console = KohyaConsole()
    lines = [line for _ in range(100) for line in console.feed(b"x" * 1000)[0]]
    assert 11 <= len(lines) <= 13 and {len(line) for line in lines} == {8192}


def test_bytes_that_are_no_text_break_nothing() -> None:
    lines, records = read(cut(random.Random(7).randbytes(20_000), 1))
    assert records == [] or all(not isinstance(record, Result) for record in records)
    assert all(len(line) <= 8192 + 10 for line in lines)


def test_a_bar_that_is_drawn_again_with_another_rate_is_no_new_step() -> None:
    text = bars((1, "0.5")) + "\rsteps:   1%|  | 1/100 [00:11<00:20, 2.50s/it, avr_loss=0.5]"
    assert steps(records_of(text)) == [(0, None, None), (1, None, 0.5)]
