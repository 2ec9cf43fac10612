"""The arithmetic of a depth study, against runs made by hand."""

from __future__ import annotations

import pytest

from resnet_pipe.study.figures import Latency, StageTime, entry, turning_point, with_shares
from tests.study import hand_made


def test_each_figure_is_the_median_of_the_runs() -> None:
    runs = [
        hand_made.run(rate=18.0, infer_s=22.0),
        hand_made.run(rate=20.0, infer_s=20.0),
        hand_made.run(rate=21.0, infer_s=10.0),
    ]
    found = entry(hand_made.NETWORK, runs)
    assert (found.images_per_s.low, found.images_per_s.median, found.images_per_s.high) == (18.0, 20.0, 21.0)
    assert found.stages["reader"] == StageTime(busy_ms=1.0, wait_ms=5.0)
    assert found.stages["preprocess"] == StageTime(busy_ms=0.5, wait_ms=15.0)
    assert found.stages["infer"] == StageTime(busy_ms=100.0, wait_ms=2.0)
    assert found.stages["writer"].busy_ms == pytest.approx(0.1)
    assert found.latency == Latency(p50=800.0, p95=810.0, p99=820.0)
    assert (found.load_s, found.warmup_s) == (0.5, 0.25)
    assert found.peak_vram_mb is None
    assert found.setting.batch_size == 8


def test_gflops_are_two_for_each_multiply_accumulate_over_the_time_the_streams_were_at_work() -> None:
    # 2 x 4 GMACs x 200 images in 20 busy seconds of two streams at once: 1600 GFLOP in 10 seconds.
    assert entry(hand_made.NETWORK, [hand_made.run(infer_s=20.0)]).gflops == pytest.approx(160.0)


def test_the_parts_of_a_network_that_finds_objects_are_told_without_gflops() -> None:
    runs = [hand_made.run(network=12.0, box_head=4.0), hand_made.run(network=14.0, box_head=3.0)]
    found = entry(hand_made.NETWORK.model_copy(update={"gmacs_at": (800, 1344)}), runs)
    assert found.parts == pytest.approx({"network": 65.0, "box_head": 17.5})
    (found,) = with_shares([found])
    assert (found.gflops, found.gflops_share) == (None, None)
    assert entry(hand_made.NETWORK, [hand_made.run()]).parts == {}


def test_memory_of_the_gpu_is_the_median_of_the_runs_that_know_it() -> None:
    runs = [hand_made.run(vram=None), hand_made.run(vram=900.0), hand_made.run(vram=1000.0)]
    assert entry(hand_made.NETWORK, runs).peak_vram_mb == 950.0


def test_shares_are_of_the_best_depth_of_the_same_engine() -> None:
    entries = [
        hand_made.entry(18, 40.0, 41.0),
        hand_made.entry(50, 20.0, 96.0),
        hand_made.entry(18, 400.0, 4.0, engine="openvino"),
    ]
    assert [each.gflops_share for each in with_shares(entries)] == pytest.approx([0.72, 1.0, 1.0])


@pytest.mark.parametrize(
    ("bottlenecks", "turn"),
    [
        (["reader", "reader", "infer", "infer"], 50),
        (["preprocess", "infer", "infer", "infer"], 34),
        (["infer", "infer", "infer", "infer"], None),
        (["reader", "reader", "reader", "reader"], None),
    ],
)
def test_the_turning_point_is_the_first_depth_that_the_network_limits(
    bottlenecks: list[str], turn: int | None
) -> None:
    depths = (18, 34, 50, 101)
    entries = [
        hand_made.entry(depth, 10.0, 1.0, limit) for depth, limit in zip(depths, bottlenecks, strict=True)
    ]
    assert turning_point(entries) == turn
