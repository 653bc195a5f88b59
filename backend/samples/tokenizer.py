"""A real CLIP tokenizer with a vocabulary of a few hundred entries."""

import json
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from backend.samples.scenes import COLOURS, OFFSETS, OPENINGS, RADII, SHAPES, TRIGGERS

MAX_LENGTH = 24
"""Tokens of a prompt including the start and end tokens."""
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def words() -> list[str]:
    """Every word of the base captions, sorted; each becomes one token."""
    phrases = [*COLOURS, *SHAPES, *RADII, *OFFSETS, *OPENINGS, *TRIGGERS, "a on background at the in and of"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids and merges: printable ASCII inside and at the end of a word, then each word letter by letter.

    The merges of a word join its first two letters, then that with the third and so on, so that byte-pair
    encoding arrives at the whole word.
    """
    characters = [chr(code) for code in range(33, 127)]
    tokens = dict.fromkeys(characters + [c + WORD_END for c in characters])
    merges: dict[tuple[str, str], None] = {}
    for word in words():
        left = word[0]
        for position, letter in enumerate(word[1:], start=2):
            right = letter + WORD_END if position == len(word) else letter
            merges[left, right] = None
            left += right
            tokens[left] = None
    ids = {token: number for number, token in enumerate([*tokens, START, END])}
    return ids, list(merges)


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
    """Save with ``vocab.json`` and ``merges.txt``, which transformers 5 leaves out and other trainers read."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
