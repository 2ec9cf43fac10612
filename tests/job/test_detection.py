"""What a job says of boxes, and what does not go with them, is told before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.jobs import Cli, JobFolder, numbered
from tests.sidecars import LETTERBOX, NAMES, make_finder, write_sidecar, write_yolo_sidecar


@pytest.fixture
def finder(tmp_path: Path) -> JobFolder:
    """A job that finds objects, and has not been run."""
    job = make_finder(tmp_path / "finder")
    job.add(*numbered(3))
    return job


@pytest.mark.parametrize(
    ("writer", "said"),
    [
        (
            "{kind: npy, field: logits}",
            "writer.1.field: tiny finds objects, and gives no logits: write another",
        ),
        ("{kind: npy}", "writer.1.field: tiny gives no features: choose other fields"),
        ("{kind: images}", "writer.1.draw: tiny finds objects, and gives no top_k: write draw: boxes"),
        ("{kind: images, draw: labels}", "gives no top_k: write draw: boxes"),
        ("{kind: csv, fields: [top_k]}", "writer.1.fields: tiny finds objects, and gives no top_k"),
        ("{kind: csv, fields: [boxes, logits]}", "writer.1.fields: tiny finds objects, and gives no logits"),
        ("{kind: csv, fields: [boxes], aggregate: mean}", "writer.1.aggregate: boxes are of one frame each"),
        ("{kind: parquet, aggregate: max}", "writer.1.aggregate: boxes are of one frame each"),
    ],
)
def test_a_writer_of_anything_else_is_refused(finder: JobFolder, writer: str, said: str) -> None:
    listed = f"writer=[{{kind: jsonl, path: out, fields: [boxes]}}, {writer}]"
    assert said in finder.run("--set", listed).expect(2).stderr
    assert not finder.out.exists()


def test_tables_have_boxes_unless_they_are_to_have_something_else(finder: JobFolder) -> None:
    finder.run("--set", "writer=[{kind: csv, path: out}, {kind: coco}]").expect(0)
    assert ",x1,y1,x2,y2,score,label,name" in (finder.out / "part-000000.csv").read_text(encoding="utf-8")
    said = "writer=[{kind: csv, path: out, fields: [boxes], k: 7}, {kind: coco}]"
    assert "0 to process, 3 already done" in finder.run("--set", said, "--dry-run").expect(0).stdout


def test_a_table_alone_has_boxes_only_if_it_says_so(finder: JobFolder) -> None:
    (problem,) = finder.run("--set", "writer={kind: csv, path: out}").expect(2).stderr.splitlines()
    assert problem.endswith("writer.fields: tiny finds objects, and gives no top_k: write fields: [boxes]")


def test_no_engine_is_advised_for_outputs_that_are_no_such_boxes(finder: JobFolder) -> None:
    stderr = finder.run("--set", "infer.boxes=yolo5").expect(2).stderr
    assert "that is no yolo5" in stderr
    assert "can run it" not in stderr


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet", "fcos", "detr", "rt_detr"])
def test_a_kind_that_the_file_cannot_be_is_refused_with_those_that_it_fits(
    finder: JobFolder, kind: str
) -> None:
    said = finder.run("--set", f"infer.boxes={kind}").expect(2).stderr
    text = (
        f"infer.boxes: tiny.onnx gives output0 (N, 9, 84), and so it is no {kind}: it fits yolo5 or yolo or"
    )
    assert text in said


@pytest.mark.parametrize(("kind", "most"), [("yolo", "0.7"), ("yolo5", "0.45"), ("yolo_end_to_end", "1")])
def test_boxes_that_no_file_speaks_of_are_kept_as_convert_would_say(
    tmp_path: Path, kind: str, most: str
) -> None:
    job = make_finder(tmp_path / "finder", kind)
    write_sidecar(job.folder / "tiny.onnx", classes=NAMES, features=None, preprocessing=LETTERBOX)
    job.add(*numbered(1))
    said = job.run("--set", f"infer.boxes={kind}", "--dry-run").expect(0)
    assert f"score above 0.25, overlap (IoU) up to {most}, at most 300" in said.stdout + said.stderr


def test_a_class_that_no_label_is_for_ends_the_run_in_words(tmp_path: Path) -> None:
    finder = make_finder(tmp_path / "finder", "yolo_end_to_end")
    finder.add(*numbered(3))
    write_yolo_sidecar(finder.folder / "tiny.onnx", "yolo_end_to_end", labels=NAMES[:1])
    stderr = finder.run().expect(1).stderr
    assert "that is no yolo_end_to_end for 1 classes" in stderr
    assert "Traceback" not in stderr


def test_what_changed_about_the_boxes_is_told_key_by_key(finder: JobFolder) -> None:
    finder.run().expect(0)
    stderr = finder.run("--set", "infer.score=0.625").expect(2).stderr
    assert "infer.detector.score: 0.25 -> 0.625" in stderr
    assert "nms" not in stderr


def test_a_name_alone_is_no_list_of_classes(finder: JobFolder) -> None:
    assert "infer.classes: expected a list" in finder.run("--set", "infer.classes=car").expect(2).stderr


def test_a_file_without_labels_is_refused(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "names.txt").write_text("\n \n")
    answer = cli("convert", "fcos_resnet50_fpn", "--weights", "random", "--labels", tmp_path / "names.txt")
    assert "names no class" in answer.expect(2).stderr


def test_a_class_without_a_name_is_refused_by_its_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "names.txt").write_text("one\n\nthree\n\n")
    answer = cli("convert", "fcos_resnet50_fpn", "--weights", "random", "--labels", tmp_path / "names.txt")
    assert "names.txt: line 2 is empty" in answer.expect(2).stderr


def test_detectors_are_among_the_networks_that_can_be_converted(cli: Cli) -> None:
    assert "fcos_resnet50_fpn" in cli("convert", "fcos_resnet50_fpm").expect(2).stderr


@pytest.mark.parametrize("setting", ["activation=softmax", "logits=output0", "features=output0"])
def test_what_is_for_classes_is_refused_beside_boxes(finder: JobFolder, setting: str) -> None:
    finder.write(fields="[boxes]", preprocess="{}")
    said = finder.run("--set", f"infer.{setting}").expect(2).stderr
    assert f"infer.{setting.partition('=')[0]}: not for writer.fields: [boxes]" in said


@pytest.mark.parametrize("settings", [(), ("--set", "infer.classes=[thing 0, thing 1]")])
def test_a_job_goes_on_where_it_was(finder: JobFolder, settings: tuple[str, ...]) -> None:
    finder.write(fields="[boxes]", preprocess="{}")
    finder.run(*settings).expect(0)
    before = {row["path"]: row["detections"] for row in finder.rows()}
    finder.add("later.jpg")
    finder.run(*settings).expect(0)
    after = {row["path"]: row["detections"] for row in finder.rows()}
    assert after.keys() - before.keys() == {"later.jpg"}
    assert {path: after[path] for path in before} == before


def test_labels_are_refused_where_they_would_have_no_effect(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    answer = cli("convert", "resnet18", "--weights", "random", "--labels", tmp_path / "names.txt")
    assert "and not for resnet18" in answer.expect(2).stderr
