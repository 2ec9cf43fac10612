"""The tests of conversion are for environments that have the extra `convert`."""

from __future__ import annotations

import pytest

pytest.importorskip("torchvision", reason="needs the extra `convert`")
