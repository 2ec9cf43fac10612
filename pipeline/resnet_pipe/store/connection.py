"""How a server of buckets is reached: where it is, as whom, and with how much patience."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from resnet_pipe.store import aws_profile
from resnet_pipe.store.address import Address

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_RETRIES = 1000
"""More than there is time for."""
TIMEOUT, SILENCE = timedelta(minutes=15), timedelta(seconds=30)
"""For one request, and until the next bytes of an answer."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Where the environment names a server that speaks S3; one without TLS is meant if it says `http`."""


@dataclass(frozen=True)
class Storage:
    """How to reach a server of buckets, besides what the provider's own environment and files say.

    Attributes:
        endpoint: address of a server that speaks S3 (or another provider's language), such as
            `http://127.0.0.1:8333`; None for the provider's own.
        anonymous: whether requests go unsigned, as for public buckets.
    """

    endpoint: str | None = None
    anonymous: bool = False


def _from_files(address: Address, storage: Storage) -> dict[str, str | bool]:
    """Return what the provider's own files say, as the library calls it."""
    return aws_profile.settings() if address.startswith("s3:") and not storage.anonymous else {}


def endpoint(address: Address, storage: Storage) -> str:
    """Return the address of the server that speaks S3, if anything says it."""
    named = (
        storage.endpoint,
        _from_files(address, storage).get("endpoint"),
        *map(os.environ.get, _ENDPOINTS),
    )
    return str(next(filter(None, named), ""))


@cache
def connected(address: Address, storage: Storage, patience_s: float) -> ObjectStore:
    """Return what speaks with the server of an address, one for a process."""
    from obstore.store import AzureStore, GCSStore, S3Store

    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    found, options = settings(address, storage)
    kind = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme]
    return kind(
        bucket,
        prefix=prefix or None,  # as it is: from an address, `%20` would become a space
        client_options=options,
        retry_config=retries(patience_s),
        **found,
    )


def settings(address: Address, storage: Storage) -> tuple[dict[str, str | bool], ClientConfig]:
    """Return how to reach the server of an address, as the library calls it, and how to speak with it."""
    found, scheme = _from_files(address, storage), address.partition("://")[0]
    if storage.endpoint is not None:
        found.pop("endpoint", None)
        # Of Amazon's, the one that nothing in the environment goes before.
        key = {"s3": "aws_endpoint_url_s3", "gs": "base_url", "az": "endpoint"}[scheme]
        found[key] = storage.endpoint
    if storage.anonymous:
        found["skip_signature"] = True
    allow_http = endpoint(address, storage).startswith("http://")
    return found, {"timeout": TIMEOUT, "read_timeout": SILENCE, "allow_http": allow_http}


def retries(patience_s: float) -> RetryConfig:
    """Return what the library takes for being patient."""
    return {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=patience_s)}
