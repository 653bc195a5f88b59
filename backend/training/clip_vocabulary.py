"""CLIP's tokenizer without a model folder: a single-file checkpoint has none, and all its text encoders use this one.

`clip_merges.txt.gz` holds the 48 894 merges of the byte-pair encoding that OpenAI published with CLIP (MIT licence),
one a line. The vocabulary follows from them: 256 bytes, the same at a word's end, the merged pairs, begin and end.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

_MERGES = Path(__file__).with_name("clip_merges.txt.gz")
_LENGTH = 77
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))


@cache
def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids by their text, and the merges in order."""
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").splitlines()
    merges = [(first, second) for first, second in (line.split(" ") for line in lines)]
    letters = _letters()
    words = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *(first + second for first, second in merges),
    ]
    return {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}, merges


def tokenizer(pad: str = "<|endoftext|>") -> Any:
    """The tokenizer; Stable Diffusion 2 and the second encoder of SDXL pad with `!`, which is token 0."""
    from transformers import CLIPTokenizer

    words, merges = vocabulary()
    return CLIPTokenizer(vocab=dict(words), merges=list(merges), model_max_length=_LENGTH, pad_token=pad)


def _letters() -> list[str]:
    """The character that stands for each byte, those that print first."""
    others = [byte for byte in range(256) if byte not in _PRINTABLE]
    return [*map(chr, _PRINTABLE), *(chr(256 + index) for index in range(len(others)))]
