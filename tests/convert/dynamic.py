"""A YOLO as exporters write it with dynamic axes: shapes, places and sizes are computed from the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tests.networks import YOLO_CLASSES, YOLO_CROP

CHANNELS = 4 + YOLO_CLASSES
_LEVELS = (8, 16, 32)
_BODY = """
    map_0 = Conv<strides = [8, 8]>(input, stem)
    map_1 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(map_0)
    map_2 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(map_1)
    shape_1 = Shape(map_1)
    channels = Gather<axis = 0>(shape_1, i1)
    twice = Mul(channels, i2)
    half = Div(channels, i2)
    left = Slice(map_1, i0, half, i1)
    right = Slice(map_1, half, twice, i1)
    halves = Concat<axis = 1>(right, left)
    lengths = Slice(shape_1, i2, i4, i0)
    batch_and_channels = Slice(shape_1, i0, i2, i0)
    enlarged_size = Concat<axis = 0>(batch_and_channels, lengths)
    enlarged = Resize<coordinate_transformation_mode = "asymmetric", mode = "nearest", nearest_mode = "floor">
        (map_2, none, none, enlarged_size)
    mixed = Add(enlarged, halves)
    seen_1 = Relu(mixed)
"""
"""Half of the channels of a level for the other half, and the next level, enlarged to its size."""
_LEVEL = """
    head_{level} = Conv({seen}, weights_{level})
    head_shape_{level} = Shape(head_{level})
    count_{level} = Gather<axis = 0>(head_shape_{level}, zero)
    count_list_{level} = Unsqueeze(count_{level}, i0)
    target_{level} = Concat<axis = 0>(count_list_{level}, channel_list, rest)
    list_{level} = Reshape(head_{level}, target_{level})
    height_{level} = Gather<axis = 0>(head_shape_{level}, two)
    width_{level} = Gather<axis = 0>(head_shape_{level}, three)
    rows_{level} = Range(zero, height_{level}, one)
    columns_{level} = Range(zero, width_{level}, one)
    row_list_{level} = Unsqueeze(rows_{level}, i1)
    column_list_{level} = Unsqueeze(columns_{level}, i0)
    grid_{level} = Slice(head_shape_{level}, i2, i4, i0)
    ys_{level} = Expand(row_list_{level}, grid_{level})
    xs_{level} = Expand(column_list_{level}, grid_{level})
    y_{level} = Reshape(ys_{level}, rest)
    x_{level} = Reshape(xs_{level}, rest)
    x_row_{level} = Unsqueeze(x_{level}, i0)
    y_row_{level} = Unsqueeze(y_{level}, i0)
    places_{level} = Concat<axis = 0>(x_row_{level}, y_row_{level})
    numbers_{level} = Cast<to = 1>(places_{level})
    centres_{level} = Add(numbers_{level}, a_half)
    area_{level} = Mul(height_{level}, width_{level})
    area_list_{level} = Unsqueeze(area_{level}, i0)
    strides_{level} = ConstantOfShape<value = float[1] {{{stride}}}>(area_list_{level})
"""
_END = """
    all = Concat<axis = 2>(list_0, list_1, list_2)
    centres = Concat<axis = 1>(centres_0, centres_1, centres_2)
    strides = Concat<axis = 0>(strides_0, strides_1, strides_2)
    box, logit = Split<axis = 1>(all, parts)
    all_shape = Shape(box)
    batch = Gather<axis = 0>(all_shape, zero)
    batch_list = Unsqueeze(batch, i0)
    boxes = Gather<axis = 0>(all_shape, two)
    box_list = Unsqueeze(boxes, i0)
    apart = Concat<axis = 0>(batch_list, i2, i2, box_list)
    pairs = Reshape(box, apart)
    turned = Transpose<perm = [0, 2, 1, 3]>(pairs)
    shares = Softmax<axis = 1>(turned)
    together = Concat<axis = 0>(batch_list, i4, box_list)
    back = Reshape(shares, together)
    shift, size = Split<axis = 1>(back, box_parts)
    moved = Add(centres, shift)
    middle = Mul(moved, strides)
    grown = Add(size, one_float)
    sides = Mul(grown, strides)
    score = Sigmoid(logit)
    output0 = Concat<axis = 1>(middle, sides, score)
"""


def write_dynamic_yolo(path: Path, **said: str | None) -> Path:
    """Write a YOLO for images and batches of any size, with metadata; None leaves some out."""
    levels = zip(("map_0", "seen_1", "map_2"), _LEVELS, strict=True)
    body = [
        _LEVEL.format(level=level, seen=seen, stride=stride) for level, (seen, stride) in enumerate(levels)
    ]
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>\nyolo (float[N, 3, H, W] input)'
        f" => (float[N, {CHANNELS}, places] output0) {{{_BODY}{''.join(body)}{_END}}}"
    )
    rng = np.random.default_rng(3)
    weights = {
        "stem": rng.normal(scale=1 / 8, size=(16, 3, 8, 8)).astype(np.float32),
        **{
            f"weights_{level}": rng.normal(size=(CHANNELS, 16, 1, 1)).astype(np.float32) for level in range(3)
        },
        **{f"i{number}": np.array([number]) for number in (0, 1, 2, 4)},
        **{name: np.array(number) for number, name in enumerate(("zero", "one", "two", "three"))},
        "channel_list": np.array([CHANNELS]),
        "parts": np.array([4, YOLO_CLASSES]),
        "box_parts": np.array([2, 2]),
        "rest": np.array([-1]),
        "a_half": np.array(0.5, np.float32),
        "one_float": np.array(1, np.float32),
        "none": np.zeros(0, np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    names = str({index: f"thing {index}" for index in range(YOLO_CLASSES)})
    told = {"task": "detect", "stride": "32", "names": names, "imgsz": str([YOLO_CROP, YOLO_CROP])}
    for key, value in {**told, **said}.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path
