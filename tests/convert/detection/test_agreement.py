"""A torchvision detector in pieces finds what it finds in one: in every engine, size and batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from resnet_pipe.convert.detection.cut import cut
from resnet_pipe.head.detectors.registry import detector
from tests.convert.detection import calibrated
from tests.convert.detection.agreement import agreement, detected, of_torchvision, prepared, together
from tests.convert.detection.conftest import Case
from tests.convert.detection.executed import ENGINES

KINDS = ("faster_rcnn", "retinanet", "fcos")
FULL = {"min_size": 800, "max_size": 1333}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_torchvision_finds_is_found(case: Callable[[str], Case], kind: str, engine: str) -> None:
    pieces = case(kind).pieces
    made = detector(pieces.settings, ENGINES[engine](pieces.box_head) if pieces.box_head else None)
    find = partial(detected, network=ENGINES[engine](pieces.network), detector=made)
    pairs = zip(case(kind).expected, case(kind).prepared, strict=True)
    found = together([agreement(expected, find(image)) for expected, image in pairs])
    assert found.total > 100
    assert found.matched >= 0.99 * found.total
    assert found.box < 0.5
    assert found.score < 0.005


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_its_images_give(case: Callable[[str], Case], kind: str, engine: str) -> None:
    network = ENGINES[engine](case(kind).pieces.network)
    batch = np.random.default_rng(0).normal(size=(2, 3, 64, 96)).astype(np.float32)
    together = {name: values.copy() for name, values in network(batch).items()}
    for item in range(2):
        for name, values in network(batch[item : item + 1]).items():
            assert together[name][item] == pytest.approx(values[0], abs=1e-4), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_mean_of_the_last_stage_of_the_backbone(
    case: Callable[[str], Case], kind: str, engine: str
) -> None:
    images = np.random.default_rng(1).normal(size=(2, 3, 96, 160)).astype(np.float32)
    with torch.inference_mode():
        *_, last = case(kind).model.get_submodule("backbone.body")(torch.from_numpy(images)).values()
    found = ENGINES[engine](case(kind).pieces.network)(images)["features"]
    assert found.shape == (2, 512)
    assert found == pytest.approx(last.mean((2, 3)).numpy(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_operators_that_every_engine_executes_are_in_the_graphs(
    case: Callable[[str], Case], kind: str
) -> None:
    pieces = case(kind).pieces
    norms = {"Mul", "Sub", "Sqrt", "Div"} if kind == "fcos" else set()
    features = {"GlobalAveragePool", "Flatten"}
    found = {node.op_type for node in pieces.network.graph.node}
    assert found == {"Conv", "Relu", "Add", "Resize", "MaxPool"} | features | norms
    if pieces.box_head:
        assert {node.op_type for node in pieces.box_head.graph.node} == {"Gemm", "Flatten", "Relu"}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_in_the_files_once(case: Callable[[str], Case], kind: str) -> None:
    model, pieces = case(kind).model, case(kind).pieces
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    graphs = [graph for graph in (pieces.network, pieces.box_head) if graph]
    assert sum(graph.ByteSize() for graph in graphs) < 1.03 * weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "pixels"),
    [
        ("fasterrcnn_resnet50_fpn", 0.99, 0.5),
        # Which of two nearly equal proposals is kept makes more of a difference here.
        ("fasterrcnn_resnet50_fpn_v2", 0.97, 1),
        ("retinanet_resnet50_fpn", 0.99, 0.5),
        ("retinanet_resnet50_fpn_v2", 0.99, 0.5),
        ("fcos_resnet50_fpn", 0.99, 0.5),
    ],
)
def test_what_torchvision_finds_in_full_size_is_found(name: str, least: float, pixels: float) -> None:
    model = calibrated.detector(name, **FULL)
    images = calibrated.images()
    inputs = [prepared(image, **FULL) for image in images]
    expected = [of_torchvision(model, one, its.placement) for one, its in zip(images, inputs, strict=True)]
    pieces = cut(model)
    for engine, load in ENGINES.items():
        made = detector(pieces.settings, load(pieces.box_head) if pieces.box_head else None)
        network = load(pieces.network)
        found = together(
            [
                agreement(its, detected(image, network, made))
                for its, image in zip(expected, inputs, strict=True)
            ]
        )
        assert found.matched >= least * found.total > 100, (engine, found)
        assert found.box < pixels, (engine, found)
        assert found.score < 0.005, (engine, found)
