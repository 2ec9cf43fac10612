"""Weights come from torchvision, from a seed or from a checkpoint, and never silently from elsewhere."""

from __future__ import annotations

import pickle
import urllib.request
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model_weights
from torchvision.models import resnet18 as make_resnet18
from torchvision.models import resnet50 as make_resnet50

from resnet_pipe.convert import catalogue
from resnet_pipe.convert.conversion import convert
from resnet_pipe.convert.recipe import ARCHITECTURES, find, load
from resnet_pipe.errors import DocumentError, ModelError
from resnet_pipe.model.model import read_sidecar
from resnet_pipe.model.network import inspect
from resnet_pipe.store.digest import file_sha256
from tests.run.jobs import Cli


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has never downloaded weights, and cannot."""

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)


def save(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recipes_have_the_preprocessing_of_torchvisions_weights(name: str) -> None:
    recipe = load(find(name))
    weights: Any = get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    assert recipe.weights == "imagenet"
    assert recipe.class_count == len(weights.meta["categories"])
    assert recipe.preprocess.resize == transforms.resize_size[0]
    assert recipe.preprocess.crop == transforms.crop_size[0]
    assert recipe.preprocess.mean == transforms.mean
    assert recipe.preprocess.std == transforms.std
    assert recipe.preprocess.interpolation == transforms.interpolation.value


@pytest.mark.usefixtures("no_network")
def test_imagenet_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        convert("resnet18", weights="imagenet", out=tmp_path / "models")
    text = str(caught.value)
    assert "IMAGENET1K_V1" in text
    assert "no network" in text
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in text
    assert "--weights random" in text
    assert not (tmp_path / "models").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("cache", ["/dev/null/torch", "~nobody-at-all/torch"])
def test_weights_are_downloaded_where_the_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", cache)
    with pytest.raises(ModelError, match="no network") as caught:
        convert("resnet18", weights="imagenet", out=tmp_path / "models")
    assert "with TORCH_HOME=DIR" in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "and no directory called ~"


@pytest.mark.usefixtures("no_network")
def test_auto_takes_random_weights_loudly(tmp_path: Path) -> None:
    said: list[str] = []
    result = convert("resnet18", weights="auto", out=tmp_path, say=said.append)
    assert result.sidecar.weights.kind == "random"
    assert result.sidecar.weights.requested == "auto"
    assert any("random weights" in text for text in said)
    assert "random" in result.sidecar.weights.describe()


@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "module."])
def test_a_fine_tuned_checkpoint_brings_its_own_number_of_classes(tmp_path: Path, wrapping: str) -> None:
    torch.manual_seed(1)
    state: dict[str, Any] = dict(make_resnet18(num_classes=7).state_dict())
    if wrapping == "module.":
        state = {f"module.{key}": value for key, value in state.items()}
    if wrapping == "state_dict":
        state = {"state_dict": state, "epoch": 3}
    checkpoint = save(state, tmp_path / "tuned.pt")
    result = convert("resnet18", weights=str(checkpoint), out=tmp_path / "models")
    assert result.sidecar.classes == [f"class {index}" for index in range(7)]
    assert result.sidecar.weights.kind == "checkpoint"
    assert result.sidecar.weights.sha256 == file_sha256(checkpoint)
    taken = {"plain": None, "state_dict": "`state_dict`", "module.": "without prefix `module.`"}
    assert result.sidecar.weights.taken == taken[wrapping]


USUAL = (
    "resize: 256, crop: 224, interpolation: bilinear, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
)


def test_a_checkpoint_by_a_bare_name_has_the_usual_preprocessing_which_is_said_every_time(
    tmp_path: Path, cli: Cli
) -> None:
    """Not that of the recipe, which is what torchvision's own weights want: resize 232."""
    state = {f"model.{key}": value for key, value in make_resnet50(num_classes=2).state_dict().items()}
    checkpoint = save({"state_dict": state}, tmp_path / "tuned.pt")
    arguments = ("convert", "resnet50", "--weights", checkpoint, "--out", tmp_path)
    said = cli(*arguments).expect(0).stdout.splitlines()
    assert said[1] == "weights of tuned.pt: `state_dict`, without prefix `model.`"
    assert said[-3:] == [
        f"wrote {tmp_path}/resnet50.onnx, checkpoint weights (tuned.pt)",
        f"preprocess: {{{USUAL}, color: rgb}}",
        "This must match how the weights were trained; a recipe or a job can override it.",
    ]
    assert read_sidecar(tmp_path / "resnet50.json").preprocessing.resize == 256
    again = cli(*arguments).expect(0).stdout.splitlines()
    assert again[0].startswith("unchanged: ")
    assert again[1:] == said[-2:]


def test_a_recipe_says_itself_how_the_images_of_its_checkpoint_are_prepared(tmp_path: Path) -> None:
    save(make_resnet18(num_classes=2).state_dict(), tmp_path / "people.pt")
    recipe = tmp_path / "people.yaml"
    text = (
        "source: torchvision\narchitecture: resnet18\nweights: people.pt\n"
        "preprocess: {fit: pad, pad_value: 114, crop: [64, 32], mean: [0, 0, 0], std: [1, 1, 1]}\n"
    )
    recipe.write_text(text)
    sidecar = convert(str(recipe), out=tmp_path).sidecar
    preprocessing = sidecar.preprocessing
    assert (preprocessing.fit, preprocessing.size, preprocessing.pad_value) == ("pad", (64, 32), 114)
    assert read_sidecar(tmp_path / "people.json") == sidecar
    network = inspect(tmp_path / "people.onnx")
    assert network.size == (64, 32)
    assert 0.98 < sidecar.macs / ((catalogue.entries()[0].macs or 0) * 64 * 32 / 224**2) < 1.02
    recipe.write_text(text.replace("fit: pad, pad_value: 114", "resize: 60"))
    with pytest.raises(DocumentError, match=r"4:1: preprocess: crop: \[64, 32\] is larger than resize, 60"):
        convert(str(recipe), out=tmp_path)


def test_a_recipe_names_the_classes_of_its_checkpoint(tmp_path: Path) -> None:
    save(make_resnet18(num_classes=2).state_dict(), tmp_path / "pets.pt")
    recipe = tmp_path / "pets.yaml"
    text = find("resnet18").read_text().replace("weights: imagenet", "weights: pets.pt")
    recipe.write_text(text.replace("classes: 1000", "classes: [cat, dog]"))
    result = convert(str(recipe), out=tmp_path)
    assert result.path == tmp_path / "pets.onnx"
    assert result.sidecar.classes == ["cat", "dog"]


def test_a_changed_checkpoint_is_converted_again(tmp_path: Path) -> None:
    network = make_resnet18(num_classes=2)
    checkpoint = save(network.state_dict(), tmp_path / "a.pt")
    assert convert("resnet18", weights=str(checkpoint), out=tmp_path).changed
    assert not convert("resnet18", weights=str(checkpoint), out=tmp_path).changed
    with torch.no_grad():
        network.fc.bias += 1
    save(network.state_dict(), checkpoint)
    assert convert("resnet18", weights=str(checkpoint), out=tmp_path).changed


def test_mismatching_keys_are_named(tmp_path: Path) -> None:
    state = dict(make_resnet18().state_dict())
    state["conv2.weight"] = state.pop("conv1.weight")
    state["bn1.weight"] = torch.zeros(3)
    checkpoint = save(state, tmp_path / "odd.pt")
    with pytest.raises(ModelError) as caught:
        convert("resnet18", weights=str(checkpoint), out=tmp_path / "models")
    text = str(caught.value)
    assert "missing: conv1.weight" in text
    assert "unexpected: conv2.weight" in text
    assert "bn1.weight (3,) instead of (64,)" in text


def test_a_checkpoint_of_another_depth_is_refused(tmp_path: Path) -> None:
    checkpoint = save(make_resnet18().state_dict(), tmp_path / "r18.pt")
    with pytest.raises(ModelError, match="not a checkpoint of torchvision's resnet50"):
        convert("resnet50", weights=str(checkpoint), out=tmp_path)


class Bomb:
    """A pickle that would create a file."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (open, ("exploded", "w"))


@pytest.mark.parametrize("content", ["text", "bomb", "list", "zip bomb"])
def test_what_is_not_a_state_dict_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    if content == "text":
        path.write_text("not weights")
    elif content == "bomb":
        path.write_bytes(pickle.dumps({"fc.weight": Bomb()}))
    elif content == "zip bomb":
        save({"fc.weight": Bomb()}, path)
    else:
        save([1, 2], path)
    with pytest.raises(ModelError) as caught:
        convert("resnet18", weights=str(path), out=tmp_path / "models")
    assert "state dict" in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_recipe_names_its_checkpoint_as_a_job_does_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    recipe = tmp_path / "net.yaml"
    text = find("resnet18").read_text()
    recipe.write_text(text.replace(": imagenet", ": ~/own.pt"))
    with pytest.raises(ModelError, match=f"checkpoint {tmp_path}/home/own.pt does not exist"):
        convert(str(recipe), out=tmp_path)
    recipe.write_text(text.replace(": imagenet", ": $HOME/own.pt"))
    with pytest.raises(DocumentError, match=r"net.yaml:\d+:\d+: weights: .*HOME is not expanded in a job"):
        convert(str(recipe), out=tmp_path)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        convert("resnet18", weights="imagenett", out=tmp_path)
