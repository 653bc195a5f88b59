"""Service descriptions as PAI-EAS writes them: JSON with comments or YAML, dotted or nested keys.

`description.py`  what a description says, as types
`storage.py`      its `storage[]`
`part.py`         what every part of it is
`text.py`         from text to a tree, with the line of every key
`reading.py`      from a tree to a description, or to an error with line, key and what was expected
`version.py`      which parts of it an instance is started by
`effects.py`      what each key does here
`meaning.py`      keys that EAS knows and that have no meaning here, and why
`schema.py`       the JSON schema that editors use
"""

from backend.service.description import (
    DEFAULT_SERVICE,
    RESERVED_PORTS,
    Container,
    Description,
    FrontEnd,
    Prepare,
    QueueLimits,
    QueueSettings,
    Rpc,
    ServiceType,
    Variable,
    default_description,
)
from backend.service.reading import Parsed, parse, with_part
from backend.service.storage import GitPlace, LocalPlace, NfsPlace, ObjectPlace, Storage

__all__ = [
    "DEFAULT_SERVICE",
    "RESERVED_PORTS",
    "Container",
    "Description",
    "FrontEnd",
    "GitPlace",
    "LocalPlace",
    "NfsPlace",
    "ObjectPlace",
    "Parsed",
    "Prepare",
    "QueueLimits",
    "QueueSettings",
    "Rpc",
    "ServiceType",
    "Storage",
    "Variable",
    "default_description",
    "parse",
    "with_part",
]
