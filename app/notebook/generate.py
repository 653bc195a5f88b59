"""Pictures from the pool's built-in inference app: prompt, LoRAs, a preview while they are drawn, the pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ipywidgets

from app.notebook import words
from app.notebook.deployment import Pool
from app.notebook.follow import Follower, follow
from app.notebook.samples import Samples, thumbnail
from backend.errors import InvalidArgument, LorapoolError
from backend.generation import GeneratedImages, Generation
from backend.views import LoraView

_WIDE: dict[str, Any] = {"width": "98%"}
_LABEL: dict[str, Any] = {"description_width": "90px"}
_SHOWN = "256px"
_LARGEST = 768
_KEPT = 8
_PREVIEW_EVERY = 4
_SIZE = re.compile(r"\s*(\d+)\s*[x×, ]\s*(\d+)\s*")


class LoraRows:
    """Which LoRAs, and how strongly: one row for each, and an empty one for the next."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._rows: list[tuple[Any, Any]] = []
        self.widget: Any = ipywidgets.VBox()
        self._grow()

    @property
    def value(self) -> dict[str, float]:
        """Name -> weight of what is chosen."""
        return {name.value: weight.value for name, weight in self._rows if name.value}

    @value.setter
    def value(self, chosen: dict[str, float]) -> None:
        self._names = [*self._names, *(name for name in chosen if name not in self._names)]
        self._rows = []
        for name, weight in chosen.items():
            self._grow(name, weight)
        self._grow()

    def offer(self, names: Sequence[str]) -> None:
        """Have these to choose from; what is chosen stays."""
        chosen = self.value
        self._names = list(names)
        self.value = chosen

    def _grow(self, name: str = "", weight: float = 1.0) -> None:
        choice = ipywidgets.Dropdown(
            options=[("none", ""), *((each, each) for each in self._names)],
            value=name,
            description="LoRA",
            style=_LABEL,
        )
        strength = ipywidgets.FloatSlider(
            value=weight, min=-1.0, max=2.0, step=0.05, description="weight", continuous_update=False
        )
        choice.observe(lambda _: self._changed(), "value")
        self._rows.append((choice, strength))
        self.widget.children = [ipywidgets.HBox(row) for row in self._rows]

    def _changed(self) -> None:
        if self._rows[-1][0].value:
            self._grow()


class Generate:
    """A prompt, and what comes of it. Works while trainings run; the query waits its turn like any task.

    `loras` are names, or names with weights; without any the LoRA that was made last is offered first.
    """

    def __init__(
        self,
        pool: Pool,
        prompt: str = "",
        *,
        loras: dict[str, float] | Sequence[str] = (),
        model: str = "",
        user: str = "",
        **keys: Any,
    ) -> None:
        self._pool = pool
        self._user = user
        self._keys = keys
        self.generation: Generation | None = None
        self.images: GeneratedImages | None = None
        self._follower: Follower | None = None
        known = pool.client.models()
        self._prompt: Any = ipywidgets.Textarea(
            value=prompt, description="prompt", rows=3, layout=_WIDE, style=_LABEL
        )
        self._negative: Any = ipywidgets.Text(description="negative", layout=_WIDE, style=_LABEL)
        names = [each.name for each in known.models]
        self._model: Any = ipywidgets.Dropdown(
            options=names,
            value=model or (names[0] if names else None),
            description="model",
            style=_LABEL,
        )
        self._loras = LoraRows(_names(known.loras))
        self._loras.value = dict(loras) if isinstance(loras, dict) else dict.fromkeys(loras, 1.0)
        self._numbers: dict[str, Any] = {
            key: ipywidgets.Text(
                value=str(keys.get(key, "")),
                placeholder=usual,
                description=key,
                style=_LABEL,
                layout={"width": "220px"},
            )
            for key, usual in (
                *(("size", "the model's own"), ("steps", "30"), ("guidance", "7.5")),
                *(("seed", "random"), ("count", "1")),
            )
        }
        self._make_rest()

    def _make_rest(self) -> None:
        self._button: Any = ipywidgets.Button(
            description="Generate", button_style="primary", icon="paint-brush"
        )
        self._again: Any = ipywidgets.Button(description="Look for new LoRAs", icon="refresh")
        self._cancel: Any = ipywidgets.Button(description="Cancel", layout={"display": "none"})
        self._bar: Any = ipywidgets.FloatProgress(
            min=0.0, max=1.0, layout={"width": "100%", "display": "none"}
        )
        self._said: Any = ipywidgets.HTML()
        self._preview: Any = ipywidgets.VBox()
        self._results: Any = ipywidgets.VBox()
        self._button.on_click(lambda _: self._clicked())
        self._again.on_click(lambda _: self.refresh())
        self._cancel.on_click(lambda _: self._stop())
        numbers = ipywidgets.HBox(list(self._numbers.values()), layout={"flex_flow": "row wrap"})
        buttons = ipywidgets.HBox([self._button, self._again, self._cancel])
        self.widget: Any = ipywidgets.VBox(
            [
                *(self._prompt, self._negative, self._model, self._loras.widget, numbers, buttons),
                *(self._bar, self._said, self._preview, self._results),
            ]
        )

    def refresh(self) -> None:
        """Offer what has been trained since."""
        try:
            self._loras.offer(_names(self._pool.client.models().loras))
        except LorapoolError as error:
            self._said.value = words.say(str(error), "bad")

    def generate(self) -> Generation:
        """Queue what the fields say, as the button does; `wait()` of the answer gives the pictures.

        Raises:
            InvalidArgument: something cannot be; nothing was queued.
        """
        keys = {**self._keys, "preview_every": _PREVIEW_EVERY, **numbers(self._texts())}
        if self._negative.value.strip():
            keys["negative_prompt"] = self._negative.value
        if self._model.value:
            keys["model"] = self._model.value
        keys["loras"] = self._loras.value
        generation = self._pool.service.generate(self._prompt.value, user=self._user, **keys)
        self.generation = generation
        self._watch(generation)
        return generation

    def _texts(self) -> dict[str, str]:
        return {key: box.value.strip() for key, box in self._numbers.items() if box.value.strip()}

    def _clicked(self) -> None:
        try:
            self.generate()
        except LorapoolError as error:
            self._said.value = words.say(str(error), "bad")

    def _stop(self) -> None:
        if self.generation is not None:
            try:
                self.generation.task.cancel()
            except LorapoolError as error:
                self._said.value = words.say(str(error), "bad")

    def _watch(self, generation: Generation) -> None:
        if self._follower is not None:
            self._follower.leave(self.paint)
        self._previews = Samples(generation.task)
        self._preview.children = [self._previews.widget]
        self._cancel.layout.display = self._bar.layout.display = None
        self._follower = follow(generation.task)
        self._follower.listen(self.paint)

    def paint(self) -> None:
        """Show how far the pictures are; a follower's thread calls this."""
        known, generation = self._follower, self.generation
        if known is None or generation is None or known.task.id != generation.task.id:
            return
        view = known.view
        if view is not None:
            self._said.value = words.say(known.note or words.state(view), "bad" if known.note else "muted")
            self._bar.value = view.progress.step / max(1, view.progress.total) if view.progress else 0.0
        if not known.ended.is_set():
            self._previews.update(list(known.files))
            return
        self._cancel.layout.display = self._bar.layout.display = "none"
        self._preview.children = []
        if view is not None and view.state == "succeeded":
            self._show(generation)

    def _show(self, generation: Generation) -> None:
        try:
            drawn = generation.images()
        except LorapoolError as error:
            self._said.value = words.say(str(error), "bad")
            return
        self.images = drawn
        self._said.value = words.say(f"{len(drawn.images)} drawn in {drawn.seconds:.1f} s", "muted")
        title = words.say(_title(generation))
        row = ipywidgets.HBox(
            [_picture(content, seed) for content, seed in zip(drawn.images, drawn.seeds, strict=True)],
            layout={"flex_flow": "row wrap"},
        )
        shown = ipywidgets.VBox([ipywidgets.HTML(title), row])
        self._results.children = [shown, *self._results.children[: _KEPT - 1]]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def numbers(texts: dict[str, str]) -> dict[str, Any]:
    """The numbers of a query from what was typed; `size` is `width x height`.

    Raises:
        InvalidArgument: one is no number.
    """
    found: dict[str, Any] = {}
    for key, text in texts.items():
        if key == "size":
            match = _SIZE.fullmatch(text)
            if match is None:
                raise InvalidArgument(key, f"{text!r} is not a size such as 512x512; nothing was queued")
            found |= {"width": int(match[1]), "height": int(match[2])}
            continue
        try:
            found[key] = float(text) if key == "guidance" else int(text)
        except ValueError:
            raise InvalidArgument(key, f"{text!r} is not a number; nothing was queued") from None
    return found


def _names(loras: Sequence[LoraView]) -> list[str]:
    return list(dict.fromkeys(each.name for each in loras))


def _title(generation: Generation) -> str:
    loras = "".join(f" · {each.name} {each.weight:g}" for each in generation.request.loras)
    return f"{generation.request.prompt}{loras}"


def _picture(content: bytes, seed: int) -> Any:
    image = ipywidgets.Image(value=thumbnail(content, _LARGEST), format="png", width=_SHOWN)
    return ipywidgets.VBox([image, ipywidgets.HTML(words.say(f"seed {seed}", "muted"))])
