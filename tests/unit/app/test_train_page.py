"""The form's fields as they are made for a language."""

from __future__ import annotations

from app import train_page
from app.languages import Languages


def test_every_field_has_its_name_and_help_in_the_language_of_the_page() -> None:
    chinese = Languages().known["zh"]
    for field in train_page.shown_fields():
        part = train_page._component(field, chinese.say)
        shown = (part.label, part.info)
        assert shown == (chinese.texts[field.label], chinese.texts[field.help])
