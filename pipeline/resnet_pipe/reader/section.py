"""The keys that the sections of all readers share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from resnet_pipe.job.document import looks_at_disk
from resnet_pipe.job.location import located
from resnet_pipe.reader.listing import check_entry


@looks_at_disk
def _entry(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - whatever the document holds
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path")
    base = (info.context or {}).get("base", Path.cwd())
    # As text: `..` takes back the segment before it, as it does for `cd`, even if that is a symbolic link.
    return check_entry(Path(os.path.abspath(located(str(value), base))))  # noqa: PTH100


Entries = Annotated[
    list[Annotated[Path, BeforeValidator(_entry)]],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
    Field(
        min_length=1,
        description="a directory, a file, a glob pattern (`**` for any number of directories), or a "
        "list of them; relative to the job file. Names with a leading dot must be spelled out",
    ),
]
"""Where the sources are: absolute paths and patterns, each of which names something."""

Recursive = Annotated[bool, Field(description="also read subdirectories")]

AllowEmpty = Annotated[bool, Field(description="finding no sources at all is not an error")]
