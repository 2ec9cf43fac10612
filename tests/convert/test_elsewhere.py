"""Networks that other libraries have saved give the same numbers here as there, images included."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.convert import elsewhere
from tests.convert.elsewhere import Saved
from tests.photographs import encode, photograph
from tests.run.jobs import Cli, JobFolder

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}
TOLERANCE = 1e-4


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Image.Image]:
    """Photographs of odd sizes, by name."""
    sizes = {"chelsea.png": (451, 300), "coffee.png": (599, 333), "rocket.jpg": (241, 427)}
    return {name: photograph(name).resize(size) for name, size in sizes.items()}


def check(saved: Saved, images: dict[str, Image.Image], cli: Cli, tmp_path: Path) -> None:
    """Convert a directory, run a job over images, and compare with the library that wrote the directory."""
    cli("convert", saved.directory, "--out", tmp_path / "models").expect(0)
    model = tmp_path / "models" / f"{saved.directory.name}.onnx"
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", model)
    for name, image in images.items():
        (job.images / name).with_suffix(".png").write_bytes(encode(image, "PNG"))
    job.file.write_text(
        "name: elsewhere\nreader: {kind: images, path: images}\n"
        f"infer: {{model: {model}, device: cpu, batch_size: 2}}\n"
        "writer: {kind: parquet, path: out, fields: [logits, features, top_k]}\n"
        "run: {report: false}\n"
    )
    job.run().expect(0)
    rows = {row["path"]: row for row in job.rows()}
    for name, image in images.items():
        expected = saved.logits(image)
        found = np.array(rows[Path(name).with_suffix(".png").name]["logits"], np.float32)
        assert np.abs(found - expected).max() / np.abs(expected).max() <= TOLERANCE, name


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"depths": [1, 1, 1, 1], "num_labels": 10, **BASIC}, id="basic"),
        pytest.param({"depths": [1, 1, 1, 1], "num_labels": 10}, id="bottleneck"),
        pytest.param({"depths": [2, 2, 2, 2], "num_labels": 10, **BASIC}, id="18", marks=pytest.mark.slow),
        pytest.param({"num_labels": 10}, id="50", marks=pytest.mark.slow),
    ],
)
def test_a_directory_of_transformers_gives_what_transformers_gives(
    config: dict[str, Any], images: dict[str, Image.Image], cli: Cli, tmp_path: Path
) -> None:
    check(elsewhere.of_transformers(tmp_path / "saved", config), images, cli, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("resnet50", "resnext50_32x4d", "wide_resnet50_2", "resnet50d", "seresnet50")
        ),
    ],
)
def test_a_directory_of_timm_gives_what_timm_gives(
    name: str, images: dict[str, Image.Image], cli: Cli, tmp_path: Path
) -> None:
    check(elsewhere.of_timm(tmp_path / "saved", name), images, cli, tmp_path)


def test_what_the_page_says_to_check_the_preprocessing_prints_the_same_from_both(
    images: dict[str, Image.Image],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere.of_transformers(tmp_path / "my-finetune", {"depths": [1, 1, 1, 1], "num_labels": 10, **BASIC})
    cli("convert", "my-finetune", "--out", "models").expect(0)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, image in images.items():
        (tmp_path / "data" / "images" / name).with_suffix(".jpg").write_bytes(encode(image, "JPEG"))
    (tmp_path / "job.yaml").write_text(
        "name: page\nreader: {kind: images, path: data/images}\n"
        "infer: {model: models/my-finetune.onnx, device: cpu}\n"
        "writer: {kind: parquet, path: out/my-finetune}\nrun: {report: false}\n"
    )
    cli("run", "job.yaml").expect(0)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    printed = []
    for block in blocks:
        capfd.readouterr()
        exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102 - what the page says
        printed.append([line.split() for line in capfd.readouterr().out.splitlines()])
    theirs, ours = printed
    assert [line[:2] for line in ours] == [line[:2] for line in theirs]
    assert len(ours) == len(images)
    scores = [[float(line[2]) for line in lines] for lines in printed]
    assert scores[0] == pytest.approx(scores[1], abs=0.003)
