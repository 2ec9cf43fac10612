"""The sentences above a depth study."""

from __future__ import annotations

from resnet_pipe.report.depth_report import to_html
from resnet_pipe.study.figures import Failed, Latency, Point
from resnet_pipe.study.findings import compare, findings
from tests.study.hand_made import entry, finder, study


def test_growth_reading_bottleneck_and_efficiency_are_said() -> None:
    said = findings(study(entry(18, 40.0, 10.0, "reader"), entry(50, 20.0, 30.0), entry(152, 10.0, 51.0)))
    assert said == [
        "opencv (fp32): from ResNet-18 to ResNet-152, inference time grows 5.1x, from 10.0 to 51.0 ms"
        " per image, while reading stays 1.6 ms; 40.0 images/s drop to 10.0.",
        "From ResNet-50 on, the network is the bottleneck; before, it is reading.",
        "ResNet-152 uses the machine best, 304 GFLOP/s; ResNet-18 reaches 47% of that.",
    ]


def test_a_faster_rcnn_is_called_by_its_name_and_its_largest_part_is_said() -> None:
    entries = (
        finder(18, 1.25, network=700.0, box_head=100.0),
        finder(50, 0.4, network=1800.0, box_head=200.0),
    )
    both = study(*entries).model_copy(update={"family": "faster_rcnn"})
    assert findings(both) == [
        "opencv (fp32): from Faster R-CNN with a ResNet-18 to Faster R-CNN with a ResNet-50,"
        " inference time grows 2.5x, from 800.0 to 2000.0 ms per image, while reading stays 1.6 ms;"
        " 1.25 images/s drop to 0.40.",
        "Inference is the bottleneck at every depth.",
        "Faster R-CNN with a ResNet-50 spends the most time in network: 1800.0 ms per image, 90% of infer.",
    ]


def test_networks_for_images_of_other_sizes_are_named() -> None:
    small = finder(18, 1.25, network=700.0)
    small = small.model_copy(update={"network": small.network.model_copy(update={"gmacs_at": (160, 224)})})
    large, deep = finder(18, 0.8, network=900.0), finder(50, 0.4, network=1800.0)
    mixed, equal = (
        study(*entries).model_copy(update={"family": "faster_rcnn"})
        for entries in ((small, deep), (large, deep))
    )
    assert findings(mixed)[-1] == (
        "Not only depth differs: the networks were converted for images up to 160 x 224 in Faster R-CNN with"
        " a ResNet-18, 800 x 1344 in Faster R-CNN with a ResNet-50."
    )
    assert not any("Not only depth" in said for said in findings(equal))
    assert "an image of 160 x 224" not in to_html(mixed)
    assert "an image of 800 x 1344" in to_html(equal)
    said = compare(mixed, equal)
    assert (
        "A and B differ: images in Faster R-CNN with a ResNet-18: up to 160 x 224 and up to 800 x 1344\n"
        in said
    )
    assert "images in" not in compare(equal, equal)


def test_studies_of_other_networks_share_none() -> None:
    resnets = study(entry(18, 40.0, 10.0))
    finders = study(finder(18, 1.0, network=700.0)).model_copy(update={"family": "faster_rcnn"})
    said = compare(resnets, finders).splitlines()
    assert said[0] == "A and B differ: networks: ResNet and Faster R-CNN"
    assert said[-1] == "the two studies share no network on the same engine"
    (line,) = [line for line in compare(finders, finders).splitlines() if "ResNet-18" in line]
    assert line.startswith("Faster R-CNN with a ResNet-18 opencv fp32 cpu ")
    assert " 1.00 " in line


def test_engines_are_compared_end_to_end() -> None:
    both = study(
        entry(18, 40.0, 10.0),
        entry(50, 20.0, 30.0),
        entry(18, 80.0, 5.0, engine="openvino"),
        entry(50, 200.0, 3.0, engine="openvino"),
    )
    assert "openvino is 2.0 to 10.0 times as fast as opencv, end to end." in findings(both)


def test_the_best_batch_size_is_named() -> None:
    latency = {size: Latency(p50=size * 10.0, p95=1, p99=1) for size in (1, 8)}
    points = (
        Point(depth=18, engine="opencv", batch_size=1, images_per_s=20.0, latency=latency[1]),
        Point(depth=18, engine="opencv", batch_size=8, images_per_s=40.0, latency=latency[8]),
    )
    said = findings(study(entry(18, 40.0, 10.0), entry(34, 20.0, 20.0), points=points))
    assert said[-1] == (
        "ResNet-18 is fastest with batches of 8: 40.0 images/s, 80 ms per batch; batches of 1 give 50% of"
        " that, in 10 ms."
    )


def test_the_batch_sizes_of_several_depths_are_one_sentence() -> None:
    def curve(depth: int, rates: dict[int, float]) -> list[Point]:
        latency = Latency(p50=1.0, p95=1.0, p99=1.0)
        return [
            Point(depth=depth, engine="opencv", batch_size=size, images_per_s=rate, latency=latency)
            for size, rate in rates.items()
        ]

    both = (entry(18, 40.0, 10.0), entry(34, 20.0, 20.0))
    same = (*curve(18, {1: 20.0, 8: 40.0}), *curve(34, {1: 18.0, 8: 20.0}))
    assert findings(study(*both, points=same))[-1] == (
        "Batches of 8 are the fastest at every depth; batches of 1 give 50% to 90% of that."
    )
    other = (*curve(18, {1: 20.0, 8: 40.0}), *curve(34, {1: 21.0, 8: 20.0}))
    assert findings(study(*both, points=other))[-1] == (
        "The fastest batch size: 8 in ResNet-18, 1 in ResNet-34."
    )


def test_one_depth_and_what_failed_are_said() -> None:
    failed = Failed(depth=152, engine="mlx", batch_size=None, reason="no memory")
    said = findings(study(entry(18, 40.0, 10.0)).model_copy(update={"failed": [failed]}))
    assert said == ["ResNet-18 runs at 40.0 images/s in opencv (fp32).", "Not measured: ResNet-152 (mlx)."]
    assert findings(study()) == ["Nothing was measured."]
