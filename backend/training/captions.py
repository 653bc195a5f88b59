"""What a caption becomes each time its picture is shown: prefix, dropout, wildcards, shuffling, kept and dropped tags.

The order is that of sd-scripts; all chance comes from the generator that is handed in.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from random import Random

_WILDCARD = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """The caption arguments of a subset, by sd-scripts' names."""

    shuffle: bool = False
    separator: str = ","
    secondary_separator: str | None = None
    keep_tokens: int = 0
    keep_tokens_separator: str | None = None
    wildcard: bool = False
    prefix: str | None = None
    suffix: str | None = None
    dropout_rate: float = 0.0
    dropout_every_n_epochs: int = 0
    tag_dropout_rate: float = 0.0
    warmup_min: int = 1
    warmup_step: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether a caption may differ from one showing to the next."""
        dropped = self.dropout_rate or self.dropout_every_n_epochs or self.tag_dropout_rate
        return bool(self.shuffle or self.wildcard or dropped or self.warmup_step)

    @property
    def steady(self) -> CaptionRules:
        """The same without what is for learning only: shuffling, dropouts, warm-up."""
        return dataclasses.replace(
            self,
            shuffle=False,
            dropout_rate=0.0,
            dropout_every_n_epochs=0,
            tag_dropout_rate=0.0,
            warmup_step=0.0,
        )


def process(
    lines: tuple[str, ...], rules: CaptionRules, chance: Random, *, epoch: int, step: int, total: int
) -> str:
    """The caption to train on now.

    `lines` are the lines of the caption file (more than the first count only with wildcards); `epoch` counts from 1,
    `step` is the optimizer step and `total` the last one (for token warm-up by fraction).
    """
    text = chance.choice(lines) if rules.wildcard and len(lines) > 1 else lines[0] if lines else ""
    text = " ".join(part for part in (rules.prefix, text, rules.suffix) if part)
    if _is_dropped(rules, chance, epoch):
        return ""
    if rules.wildcard:
        text = _WILDCARD.sub(lambda match: chance.choice(match[1].split("|")), text)
        text = text.replace("{{", "{").replace("}}", "}")
    if rules.shuffle or rules.warmup_step or rules.tag_dropout_rate:
        text = _tags(text, rules, chance, step, total)
    elif rules.keep_tokens_separator:
        text = rules.separator.join(part for part in _parts(text, rules) if part)
    if rules.secondary_separator:
        text = text.replace(rules.secondary_separator, rules.separator)
    return text


def _is_dropped(rules: CaptionRules, chance: Random, epoch: int) -> bool:
    if rules.dropout_rate and chance.random() < rules.dropout_rate:
        return True
    return bool(rules.dropout_every_n_epochs) and epoch % rules.dropout_every_n_epochs == 0


def _parts(text: str, rules: CaptionRules) -> tuple[str, str, str]:
    """The kept head, the flexible middle and the kept tail, around `keep_tokens_separator`."""
    head, found, rest = text.partition(rules.keep_tokens_separator or "\0")
    if not found:
        return "", text, ""
    middle, _, tail = rest.partition(rules.keep_tokens_separator or "\0")
    return head.strip(), middle.strip(), tail.strip()


def _tags(text: str, rules: CaptionRules, chance: Random, step: int, total: int) -> str:
    head, middle, tail = _parts(text, rules)
    kept = _split(head, rules)
    flexible = _split(middle, rules)
    if not head:
        kept, flexible = flexible[: rules.keep_tokens], flexible[rules.keep_tokens :]
    flexible = flexible[: _warm(len(flexible), rules, step, total)]
    if rules.shuffle:
        chance.shuffle(flexible)
    if rules.tag_dropout_rate:
        flexible = [tag for tag in flexible if chance.random() >= rules.tag_dropout_rate]
    return f"{rules.separator} ".join(kept + flexible + _split(tail, rules))


def _split(text: str, rules: CaptionRules) -> list[str]:
    return [tag.strip() for tag in text.split(rules.separator) if tag.strip()]


def _warm(count: int, rules: CaptionRules, step: int, total: int) -> int:
    """How many tags are shown at this step of the token warm-up; a fraction below 1 is a share of all steps."""
    length = rules.warmup_step * total if rules.warmup_step < 1 else rules.warmup_step
    if not length or step >= length:
        return count
    shown = math.floor((step / length) * (count - rules.warmup_min)) + rules.warmup_min
    return max(min(shown, count), 0)
