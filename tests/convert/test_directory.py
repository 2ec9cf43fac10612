"""What a directory says is followed or refused by name; nothing in it is executed."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_pipe.model.model import read_sidecar
from tests.convert import elsewhere
from tests.run.commands import Result
from tests.run.jobs import Cli

BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "num_labels": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet of transformers."""
    return elsewhere.of_transformers(
        tmp_path_factory.mktemp("saved") / "net", {"depths": [1, 1, 1, 1], **BASIC}
    ).directory


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of timm that torchvision does not have."""
    return elsewhere.of_timm(tmp_path_factory.mktemp("timm") / "net", "test_resnet").directory


def changed(original: Path, target: Path, **values: object) -> Path:
    """Copy a directory with other values in its config.json."""
    shutil.copytree(original, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **values}))
    return target


def refused(cli: Cli, directory: Path, *options: str) -> Result:
    result = cli("convert", directory, "--out", directory.parent / "models", *options).expect(2)
    assert "what to do" in result.stderr
    models = directory.parent / "models"
    assert not models.exists() or not list(models.iterdir())
    return result


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("downsample_in_bottleneck", True),  # the weights would load, and every result be wrong
        ("downsample_in_first_stage", True),
        ("hidden_act", "gelu"),
        ("embedding_size", 32),
        ("hidden_sizes", [64, 128, 256, 500]),
        ("num_channels", 1),
        ("depths", [1, 1, 1]),
        ("depths", "many"),
        ("model_type", "vit"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_key(
    saved: Path, tmp_path: Path, cli: Cli, key: str, value: object
) -> None:
    result = refused(cli, changed(saved, tmp_path / "net", **{key: value}))
    assert f"config.json: {key}" in result.stderr


def test_weights_of_another_depth_are_refused(saved: Path, tmp_path: Path, cli: Cli) -> None:
    result = refused(cli, changed(saved, tmp_path / "net", depths=[1, 2, 1, 1]))
    assert "has no weights called layer2.1." in result.stderr


def test_labels_that_are_too_few_are_refused(saved: Path, tmp_path: Path, cli: Cli) -> None:
    result = refused(cli, changed(saved, tmp_path / "net", id2label={"0": "cat", "1": "dog"}))
    assert "names 2 classes, but the weights have 3" in result.stderr


def without(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("config.json"), "config.json cannot be read: No such file"),
        (without("model.safetensors"), "has no weights: neither model.safetensors nor pytorch_model.bin"),
        (without("preprocessor_config.json"), "nothing says how images are prepared"),
        (with_text("config.json", "{"), "is not JSON"),
        (with_text("config.json", "[]"), "expected names and values"),
        (with_text("config.json", "[" * 100_000), "is not JSON"),
        (with_text("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (with_text("model.safetensors", "rubbish, and no more than that"), "is damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_named(
    saved: Path, tmp_path: Path, cli: Cli, damage: Callable[[Path], object], said: str
) -> None:
    directory = changed(saved, tmp_path / "net")
    damage(directory)
    assert said in refused(cli, directory).stderr


def test_nobody_waits_for_a_pipe_in_the_place_of_a_file(saved: Path, tmp_path: Path, cli: Cli) -> None:
    directory = shutil.copytree(saved, tmp_path / "net")
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    assert "config.json is not a file" in refused(cli, directory).stderr


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def test_a_pickle_is_not_executed(
    saved: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = changed(saved, tmp_path / "net")
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({"classifier.1.weight": Attack()}))
    monkeypatch.chdir(tmp_path)
    refused(cli, directory)
    assert not (tmp_path / "executed").exists()


def test_weights_that_torch_has_saved_are_read(saved: Path, tmp_path: Path, cli: Cli) -> None:
    from safetensors.torch import load_file

    directory = changed(saved, tmp_path / "net")
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    cli("convert", directory, "--out", tmp_path / "models", "--name", "mine").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "mine.json")
    assert (sidecar.weights.name, sidecar.classes) == ("pytorch_model.bin", ["LABEL_0", "LABEL_1", "LABEL_2"])


def test_a_network_without_a_classifier_gives_features_alone(saved: Path, tmp_path: Path, cli: Cli) -> None:
    from transformers import ResNetModel

    directory = changed(saved, tmp_path / "net")
    ResNetModel.from_pretrained(saved).save_pretrained(directory)
    cli("convert", directory, "--out", tmp_path / "models").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "net.json")
    assert (sidecar.features, sidecar.classes) == (512, [])


@pytest.mark.parametrize(
    "arguments",
    [
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained": True},
        {"cache_dir": "elsewhere"},
        {"no_such_thing": 1},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_arguments_that_are_not_of_the_network_do_not_reach_timm(
    of_timm: Path, tmp_path: Path, cli: Cli, arguments: dict[str, object]
) -> None:
    result = cli(
        "convert",
        changed(of_timm, tmp_path / "net", model_args=arguments),
        "--out",
        tmp_path / "models",
    ).expect(2)
    assert next(iter(arguments)) in result.stderr


@pytest.mark.parametrize("name", ["hf-hub:someone/else", "no_such_network", 7])
def test_timm_is_asked_for_its_own_networks_only(
    of_timm: Path, tmp_path: Path, cli: Cli, name: object
) -> None:
    assert "architecture" in refused(cli, changed(of_timm, tmp_path / "net", architecture=name)).stderr


def test_weights_cannot_be_given_for_what_has_its_own(saved: Path, tmp_path: Path, cli: Cli) -> None:
    result = cli("convert", saved, "--weights", "random", "--out", tmp_path).expect(2)
    assert "--weights is for recipes" in result.stderr


def test_a_model_of_the_same_name_from_elsewhere_is_kept(
    saved: Path, of_timm: Path, tmp_path: Path, cli: Cli
) -> None:
    cli("convert", saved, "--out", tmp_path).expect(0)
    before = (tmp_path / "net.onnx").read_bytes()
    assert "--name" in cli("convert", of_timm, "--out", tmp_path).expect(2).stderr
    assert (tmp_path / "net.onnx").read_bytes() == before
    cli("convert", of_timm, "--out", tmp_path, "--name", "other").expect(0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"id2label": None, "num_labels": 7}, "transformers itself cannot load it"),
        ({"quantization_config": {"load_in_8bit": True}}, "transformers itself cannot load it"),
    ],
)
def test_what_transformers_does_not_load_is_refused(
    saved: Path, tmp_path: Path, cli: Cli, values: dict[str, object], said: str
) -> None:
    assert said in refused(cli, changed(saved, tmp_path / "net", **values)).stderr


@pytest.mark.parametrize(
    "processor",
    [
        {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        {"resample": [3]},
        {"crop_pct": 1e-308},
        {"size": {"shortest_edge": 10**30}},
        {"image_processor_type": "BitImageProcessor", "crop_size": {"shortest_edge": 5}},
    ],
    ids=lambda processor: next(iter(processor)),
)
def test_an_image_processor_that_cannot_be_followed_is_refused(
    saved: Path, tmp_path: Path, cli: Cli, processor: dict[str, object]
) -> None:
    directory = changed(saved, tmp_path / "net")
    (directory / "preprocessor_config.json").write_text(json.dumps({**elsewhere.PROCESSOR, **processor}))
    assert "expected expected" not in refused(cli, directory).stderr


@pytest.mark.parametrize(
    "values",
    [
        {"pretrained_cfg": []},
        {"pretrained_cfg": 5},
        {"pretrained_cfg": {"std": [0.1, "0.2", 0.3]}},
        {"pretrained_cfg": {"mean": 0.5}},
        {"pretrained_cfg": {"crop_pct": float("nan")}},
        {"pretrained_cfg": {"mean": [float("inf")] * 3, "crop_mode": "border", "crop_pct": 1.0}},
        {"pretrained_cfg": {"classifier": "conv1"}},
        {"label_names": {"²": "two"}},
        {"model_args": {"block": "everything"}},
        {"model_args": {"layers": []}},
    ],
    ids=str,
)
def test_whatever_a_file_of_timm_says_ends_in_words(
    of_timm: Path, tmp_path: Path, cli: Cli, values: dict[str, object]
) -> None:
    result = cli("convert", changed(of_timm, tmp_path / "net", **values), "--out", tmp_path / "models")
    assert result.code in (0, 2)
    result.expect(result.code)
    assert not re.search(r"\w+Error", result.stderr)  # of Python, which means nothing to users


@pytest.mark.parametrize("key", ["layers", "base_width", "num_classes"])
def test_a_network_of_timm_that_would_never_be_built_is_refused_by_name(
    of_timm: Path, tmp_path: Path, cli: Cli, key: str
) -> None:
    value = [1_000_000] * 4 if key == "layers" else 10_000_000
    told = {key: value} if key == "num_classes" else {"model_args": {key: value}}
    assert f"{key}: a n" in refused(cli, changed(of_timm, tmp_path / "net", **told)).stderr


def test_a_network_of_a_thousand_blocks_is_too_deep(of_timm: Path, tmp_path: Path, cli: Cli) -> None:
    directory = changed(of_timm, tmp_path / "net", model_args={"layers": [1, 1, 998, 1]})
    assert "layers: a network of over 1,000 blocks" in refused(cli, directory).stderr


def test_the_size_of_timm_has_no_effect_on_transformers(saved: Path, tmp_path: Path, cli: Cli) -> None:
    said = refused(cli, saved, "--size", "test").stderr
    assert "--size test is for networks of timm, and has no effect" in said


def test_what_torch_cannot_export_is_said_in_one_line_without_its_log(
    of_timm: Path, tmp_path: Path, cli: Cli
) -> None:
    told = json.loads((of_timm / "config.json").read_text())["model_args"]
    directory = changed(of_timm, tmp_path / "net", model_args={**told, "global_pool": ""})  # no pooling
    problem, remedy = refused(cli, directory).stderr.splitlines()
    assert "cannot export this network: a and b must have same reduction dim" in problem
    assert "export it to ONNX with its own library" in remedy


def test_a_network_of_timm_without_a_classifier_gives_features(tmp_path: Path, cli: Cli) -> None:
    saved = elsewhere.of_timm(tmp_path / "net", "test_resnet", num_classes=0).directory
    cli("convert", saved, "--out", tmp_path / "models").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "net.json")
    assert sidecar.features
    assert sidecar.classes == []


@pytest.mark.parametrize("spec", ["~nobody-at-all/x", "x" * 5000, "", "hf:a@", "hf:", "timm:"])
def test_a_spec_that_means_nothing_is_refused(tmp_path: Path, cli: Cli, spec: str) -> None:
    cli("convert", spec, "--out", tmp_path / "models").expect(2)
