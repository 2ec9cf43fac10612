"""One converted ResNet-18 for all who only look at it."""

from __future__ import annotations

import pytest

from resnet_pipe.convert.conversion import Conversion, convert

pytest.importorskip("torchvision", reason="needs the extra `convert`")


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """ResNet-18 with random weights. Do not change its files."""
    return convert("resnet18", weights="random", out=tmp_path_factory.mktemp("models"))
