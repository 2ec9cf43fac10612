"""Addresses in buckets: what is one, and what is wrong with one."""

from __future__ import annotations

import pytest

from resnet_pipe.store.address import Address, is_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/pictures/", "s3://bucket/pictures"),
        ("S3://bucket", "s3://bucket"),
        ("gs://my_bucket.example/a b/ä%20#1", "gs://my_bucket.example/a b/ä%20#1"),
    ],
)
def test_an_address_is_a_bucket_and_perhaps_a_name(text: str, address: str) -> None:
    assert is_address(text)
    assert Address(text) == address
    assert Address(text) / "below" == f"{address}/below"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s3://", "names no bucket"),
        ("s3://Bad Bucket/x", "letters, digits"),
        ("s3://user:password@bucket/x", "credentials do not belong"),
        ("s3://*/x", "letters, digits"),
        ("s3://bucket//x", "no `//`"),
        ("s3://bucket/../x", "`..`"),
        ("s3://bucket/a?b", "no `\\?`"),
        ("s3://bucket/a\nb", "control characters"),
        ("ftp://bucket/x", "begins with s3://"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Address(text)
