"""A real CLIP tokenizer with a vocabulary of a few hundred entries."""

import json
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from backend.samples.scenes import COLOURS, OFFSETS, OPENINGS, RADII, SHAPES, TRIGGERS

MAX_LENGTH = 24
"""Tokens of a prompt including the start and end tokens."""
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"

Pair = tuple[str, str]


def words() -> list[str]:
    """Every word of the base captions, sorted; each becomes one token."""
    phrases = [*COLOURS, *SHAPES, *RADII, *OFFSETS, *OPENINGS, *TRIGGERS, "a on background at the in and of"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def vocabulary() -> tuple[dict[str, int], list[Pair]]:
    """Token ids and merges: printable ASCII inside and at a word's end, then each word letter by letter."""
    characters = [chr(code) for code in range(33, 127)]
    merges = _ordered_merges(words())
    tokens = [*characters, *(c + WORD_END for c in characters), *map("".join, merges), START, END]
    ids = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return ids, merges


def _ordered_merges(vocabulary_words: list[str]) -> list[Pair]:
    """Merges that lead byte-pair encoding from the letters of each word, left to right, to the whole word.

    Byte-pair encoding applies the earliest merge in the list first. So wherever a word holds several
    mergeable pairs at once, the wanted one must stand before the others, which is a topological order.
    Raises graphlib.CycleError for words that cannot live together.
    """
    stages = [stage for word in vocabulary_words for stage in _stages(word)]
    order: TopologicalSorter[Pair] = TopologicalSorter({stage[0]: () for stage in stages})
    wanted = {stage[0] for stage in stages}
    for first, *others in stages:
        for other in sorted(wanted.intersection(others) - {first}):
            order.add(other, first)
    return list(order.static_order())


def _stages(word: str) -> list[list[Pair]]:
    """The adjacent pairs of a word before each of its merges; the pair to be merged comes first."""
    parts = [*word[:-1], word[-1] + WORD_END]
    stages = []
    while len(parts) > 1:
        stages.append(list(pairwise(parts)))
        parts = [parts[0] + parts[1], *parts[2:]]
    return stages


def build_tokenizer() -> Any:
    """The tokenizer as transformers' CLIPTokenizer."""
    ids, merges = vocabulary()
    return CLIPTokenizer(
        vocab=ids,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=MAX_LENGTH,
    )


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save; also ``vocab.json`` and ``merges.txt``, which transformers 5 leaves out and others read."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
