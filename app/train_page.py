"""The Train page: a Gradio form made from the table of fields.

Gradio draws the fields and holds their values. What happens with them (checks, presets, files, start) happens
between the page's module and `app.training`, so that no Gradio event ever reaches the server.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from app import pages
from app.languages import Catalogue, Languages
from kohya_adapter.fields import FAMILY_CHECKBOXES, FIELDS, Field, groups

Parts: TypeAlias = dict[str, gr.components.Component]
Say: TypeAlias = Callable[[str], str]

FAMILY = "family"
"""The pseudo-field that stands for Kohya's model checkboxes, of which one or none is ticked."""

_FAMILIES = {
    "sd": "Stable Diffusion 1.x / 2.x",
    "sdxl": "SDXL",
    "flux": "FLUX.1",
    "sd3": "Stable Diffusion 3",
    "hunyuan": "HunyuanImage 2.1",
    "anima": "Anima",
    "lumina": "Lumina Image 2.0",
}
_FAMILY_HELP = (
    "What the base model is, or was made from. It decides which trainer starts and which settings there are."
)
_SECTIONS = {
    "Model and pictures": ("Model", "Dataset", "Output"),
    "Network": ("Network",),
    "Learning": ("Learning",),
    "Length": ("Length", "Images", "Memory and speed"),
    "Saving": ("Saving",),
    "Samples": ("Samples",),
}
"""The short form: sections of basic fields, each from these groups of the table."""

_READY = "async () => await (await window.lorapool).{}()"
_WITH_VALUES = "async (...values) => {{ (await window.lorapool).{}(values) }}"


def shown_fields() -> tuple[Field, ...]:
    """The fields that have a component, in the order in which the page's module gets their values."""
    return tuple(f for f in FIELDS if f.shown is not None and f.key not in FAMILY_CHECKBOXES.values())


def slug(group: str) -> str:
    """The element id of a group's accordion."""
    return "g-" + group.lower().replace(" ", "-")


def build(root_path: str, languages: Languages, language: Catalogue, *, prints: bool = False) -> gr.Blocks:
    """The page in a language; its module is `static/js/train.js`. With `prints` it shows commands, queues nothing."""
    parts: Parts = {}
    say = language.say
    with gr.Blocks(title=f"{say('Train')} · lorapool", analytics_enabled=False, fill_width=True) as page:
        bar = pages.frame("train", root_path, languages, language, alone=prints)
        gr.HTML(bar, elem_id="lp-frame", padding=False, apply_default_css=False)
        with gr.Column(elem_id="lp-train"):
            gr.HTML('<div class="lp-ui" id="lp-tools"></div>', padding=False, apply_default_css=False)
            with gr.Row(elem_id="lp-columns"):
                with gr.Column(elem_id="lp-form"):
                    _short_form(parts, say)
                    _all_settings(parts, say)
                with gr.Column(elem_id="lp-aside"):
                    gr.HTML(
                        '<div class="lp-ui" id="lp-outlook"></div>', padding=False, apply_default_css=False
                    )
                    label = say("Show the command") if prints else say("Start training")
                    start = gr.Button(label, variant="primary", elem_id="lp-start")
                    gr.HTML('<div class="lp-ui" id="lp-after"></div>', padding=False, apply_default_css=False)
        values = [parts[key] for key in _order()]
        gr.on(
            [part.change for part in values],
            fn=None,
            inputs=values,
            js=_WITH_VALUES.format("changed"),
            queue=False,
        )
        start.click(fn=None, inputs=values, js=_WITH_VALUES.format("start"), queue=False)
        # The module puts values into the form by pressing this.
        fill = gr.Button("Fill", elem_id="lp-fill")
        fill.click(fn=None, outputs=values, js=_READY.format("fill"), queue=False)
        page.load(fn=None, outputs=values, js=_READY.format("restore"), queue=False)
    return page


def head(root_path: str, language: Catalogue, *, prints: bool = False) -> str:
    """What the page's head holds besides Gradio's own: `window.lorapool` is a promise of the module's functions."""
    promise = "<script>window.lorapool = new Promise((made) => (window.lorapoolMade = made));</script>"
    return promise + pages.head(
        root_path, ("look", "rows", "train"), "train", language=language, prints=prints
    )


def theme() -> gr.themes.Base:
    """Gradio's plainest theme in our type; its colours are set by `train.css`."""
    return gr.themes.Base(font=["Inter", "system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _order() -> list[str]:
    return [FAMILY, *(field.key for field in shown_fields())]


def order() -> list[str]:
    """Keys of the values that the module gets and gives, in order."""
    return _order()


def _short_form(parts: Parts, say: Say) -> None:
    by_group = groups()
    for title, names in _SECTIONS.items():
        basic = [field for name in names for field in by_group[name] if field.basic]
        with gr.Column(elem_classes="lp-section"):
            gr.HTML(f"<h2>{html.escape(say(title))}</h2>", padding=False, apply_default_css=False)
            with gr.Column(elem_classes="lp-grid"):
                if "Model" in names:
                    parts[FAMILY] = _family(say)
                _components(basic, parts, say)


def _all_settings(parts: Parts, say: Say) -> None:
    gr.HTML(
        f'<div class="lp-ui" id="lp-more"><h2>{html.escape(say("All settings"))}</h2></div>',
        padding=False,
        apply_default_css=False,
    )
    shown = set(shown_fields())
    with gr.Column(elem_id="lp-groups"):
        for name, members in groups().items():
            rest = [field for field in members if field in shown and not field.basic]
            if rest:
                with gr.Accordion(say(name), open=False, elem_id=slug(name), elem_classes="lp-group"):
                    with gr.Column(elem_classes="lp-grid"):
                        _components(rest, parts, say)


def _components(wanted: Iterable[Field], parts: Parts, say: Say) -> None:
    for field in wanted:
        parts[field.key] = _component(field, say)


def _family(say: Say) -> gr.Dropdown:
    return gr.Dropdown(
        [(title, name) for name, title in _FAMILIES.items()],
        value="sd",
        label=say("Kind of model"),
        info=say(_FAMILY_HELP),
        elem_id=f"f-{FAMILY}",
        filterable=False,
    )


def _component(field: Field, say: Say) -> gr.components.Component:
    """The component of a field. Ranges are not enforced here: what a file brings is kept, and checked at the field."""
    common = {
        "value": field.default,
        "label": say(field.label),
        "info": say(field.help),
        "elem_id": f"f-{field.key}",
        "interactive": True,
    }
    match field.widget:
        case "checkbox":
            return gr.Checkbox(**common)
        case "dropdown" | "radio":
            return gr.Dropdown([str(choice) for choice in field.choices], allow_custom_value=True, **common)
        case "number" | "slider":
            return gr.Number(placeholder=str(field.default), **common)
        case _:
            lines = 4 if field.format == "lines" else 1
            return gr.Textbox(lines=lines, type="password" if field.format == "secret" else "text", **common)
