"""The key `storage` of a job: how a server of buckets is reached. Never with what credentials."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from resnet_pipe.store.connection import Storage

_SECRET = re.compile(r"key|secret|token|password|credential|profile|user|sas|account", re.IGNORECASE)
"""What somebody may call credentials."""
_INSTEAD = (
    "credentials do not belong in a job, of which copies are kept: they come from the provider's own"
    " environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
)


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected the address of a server, such as http://127.0.0.1:8333")
    if "@" in parts.netloc:
        raise ValueError(_INSTEAD)
    if parts.query or parts.fragment:
        raise ValueError("the address of a server has no `?` or `#`")
    return text


class StorageSection(BaseModel):
    """How to reach a server of buckets, besides what the provider's own environment and files say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: Annotated[
        str | None,
        AfterValidator(_endpoint),
        Field(description="address of a server that speaks S3; default: the provider's own"),
    ] = None
    anonymous: Annotated[
        bool, Field(description="send requests without credentials, as to public buckets")
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _without_credentials(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the document holds
        unknown = [key for key in values if key not in cls.model_fields] if isinstance(values, dict) else []
        if any(_SECRET.search(str(key)) for key in unknown):
            raise ValueError(_INSTEAD)
        return values

    @property
    def storage(self) -> Storage:
        """What the client of buckets takes."""
        return Storage(self.endpoint, self.anonymous)
