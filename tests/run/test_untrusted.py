"""Jobs, sidecars and models from someone else: they may be refused, and they may not do anything else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.run.jobs import SIDECAR, JobFolder

EVIL = [
    "!!python/object/apply:os.system ['touch owned']",
    "!!python/object/new:os.system ['touch owned']",
    "!!python/object/apply:subprocess.check_call [[touch, owned]]",
    "!!python/object:subprocess.Popen {args: [touch, owned]}",
    "!!python/name:os.system ''",
]


def refused(job: JobFolder, *arguments: str) -> str:
    """Run a job that must be refused before anything has begun; return what is said."""
    said = job.run(*arguments).expect(2).stderr
    assert not job.out.exists()
    return said


def test_a_job_from_someone_else_cannot_execute_code(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job.folder)
    job.add("a.jpg")
    text = job.file.read_text()
    job.file.write_text(text + "".join(f"evil{index}: {tag}\n" for index, tag in enumerate(EVIL)))
    assert refused(job).count("unknown key 'evil") == len(EVIL)
    job.file.write_text(text.replace("name: nightly", f"name: {EVIL[0]}"))
    assert "job.yaml:1:1: name: " in refused(job)
    job.file.write_text(text)
    assert "name: " in refused(job, "--set", f"name={EVIL[0]}")
    assert not (job.folder / "owned").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}' if n else 'x'] * 10)}]\n" for n in range(7)),
            "alias bomb",
        ),
        ("name: " + "[" * 1000, "not valid YAML"),
        ("name: &a [*a]\n", "name: "),
        ("name: " + "x" * (1 << 20), "larger than"),
        ("name: \x1b[31m", "not valid YAML"),
        ("name: \xff", "not valid YAML"),
    ],
    ids=["a million aliases", "deep", "of itself", "large", "control character", "not UTF-8"],
)
def test_a_job_file_that_is_a_bomb_or_no_text_is_refused(job: JobFolder, text: str, said: str) -> None:
    job.file.write_bytes(text.encode("latin-1"))
    assert said in refused(job)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "not a valid sidecar"),
        (b"\xff\xfe", "not a valid sidecar"),
        (b"[" * 100_000, "not a valid sidecar"),
        ({"classes": "label"}, "classes"),
        ({"classes": [1] * 10}, "classes"),
        (
            {"preprocessing": {"resize": -1, "crop": 1e400, "mean": [None] * 3, "std": "x"}},
            "preprocessing.resize",
        ),
        ({"preprocessing": None}, "preprocessing"),
        ({"__class__": "os.system"}, "__class__"),
        ({}, "does not belong to"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:40],
)
def test_a_sidecar_of_wrong_types_is_refused(job: JobFolder, text: bytes | dict[str, Any], said: str) -> None:
    job.add("a.jpg")
    data = text if isinstance(text, bytes) else json.dumps(SIDECAR | text).encode()
    (job.folder / "tiny.json").write_bytes(data)
    assert said in refused(job)


def outside(job: JobFolder, place: str, kind: str = "initializer") -> None:
    """Give the network of a job a tensor whose numbers are in another file."""
    path = job.folder / "tiny.onnx"
    model = onnx.load(str(path))
    tensor = numpy_helper.from_array(np.zeros(10, np.float32), "bias")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    bias = next(one for one in model.graph.initializer if one.name == "bias")
    if kind == "initializer":
        bias.CopyFrom(tensor)
    elif kind == "second place":
        tensor.external_data.insert(0, type(tensor.external_data[0])(key="location", value="tiny.onnx"))
        bias.CopyFrom(tensor)
    elif kind == "attribute without a type":
        node = helper.make_node("Constant", [], ["unused"])
        node.attribute.add(name="value").t.CopyFrom(tensor)
        model.graph.node.append(node)
    elif kind == "sparse":
        model.graph.sparse_initializer.add(dims=[10]).values.CopyFrom(tensor)
    path.unlink()
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("{folder}/secret.bin", "initializer"),
        ("../secret.bin", "initializer"),
        ("nowhere/../../secret.bin", "initializer"),
        ("link.bin", "initializer"),
        ("zero\0byte", "initializer"),
        ("../secret.bin", "second place"),
        ("../secret.bin", "attribute without a type"),
        ("../secret.bin", "sparse"),
    ],
)
def test_weights_outside_the_directory_of_the_model_are_refused(
    job: JobFolder, place: str, kind: str
) -> None:
    job.add("a.jpg")
    secret = job.folder.parent / "secret.bin"
    secret.write_bytes(bytes(40))
    (job.folder / "link.bin").symlink_to(secret)
    outside(job, place.format(folder=secret.parent), kind)
    assert "outside its own directory" in refused(job)


def test_weights_beside_the_model_are_read_and_are_part_of_the_fingerprint(job: JobFolder) -> None:
    job.write(fields="[logits]")
    job.add("a.jpg")
    job.run().expect(0)
    before = np.array(job.rows()[0]["logits"])
    bias = next(
        one for one in onnx.load(str(job.folder / "tiny.onnx")).graph.initializer if one.name == "bias"
    )
    data = np.arange(10, dtype=np.float32)
    outside(job, "data.bin")
    assert "weights are missing" in job.run().expect(2).stderr
    (job.folder / "data.bin").write_bytes(data.tobytes())
    job.run("--fresh").expect(0)
    after = np.array(job.rows()[0]["logits"])
    np.testing.assert_allclose(after - data, before - numpy_helper.to_array(bias), atol=1e-5)
    (job.folder / "data.bin").write_bytes((data + 1).tobytes())
    assert "model_data_sha256" in job.run().expect(2).stderr
