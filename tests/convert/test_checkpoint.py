"""A network is found in what training scripts save; what cannot be loaded is told by what it is."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import resnet18 as make_resnet18

from resnet_pipe.convert.sources import checkpoint
from resnet_pipe.convert.sources.checkpoint import Checkpoint
from resnet_pipe.errors import ModelError

with torch.device("meta"):
    NAMES = tuple(make_resnet18().state_dict())
STATE: dict[str, Any] = {name: torch.full((2, 1), float(index)) for index, name in enumerate(NAMES)}
"""The weights of a ResNet-18 by their names; small ones."""
OTHER: dict[str, Any] = {name: value + 1 for name, value in STATE.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


def under(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def read(path: Path) -> Checkpoint:
    return checkpoint.read(path, "resnet18", STATE)


def follow(remedy: str) -> None:
    """Execute the lines of Python of a remedy."""
    exec("\n".join(map(str.strip, remedy.splitlines()[1:])), {"torch": torch})  # noqa: S102


def read_saved(saved: object, folder: Path) -> Checkpoint:
    torch.save(saved, folder / "tuned.pt")
    return read(folder / "tuned.pt")


COMPILED_PART = {key.replace("layer1.", "layer1._orig_mod."): value for key, value in STATE.items()}
FOUND: dict[str, tuple[object, str | None]] = {
    "plain": (STATE, None),
    "beside others": ({"state_dict": STATE, "optimizer": OPTIMIZER, "epoch": 3}, "`state_dict`"),
    "an odd name": ({"weights_of_it": STATE, "optimizer": OPTIMIZER}, "`weights_of_it`"),
    "nested": ({"trainer": {"model_state_dict": STATE}}, "`trainer.model_state_dict`"),
    "DataParallel": (under("module.", STATE), "without prefix `module.`"),
    "torch.compile": (under("_orig_mod.", STATE), "without prefix `_orig_mod.`"),
    "a part compiled": (COMPILED_PART, "without prefix `_orig_mod.`"),
    "both": (under("module._orig_mod.", STATE), "without prefix `module.` and `_orig_mod.`"),
    "Lightning": ({"state_dict": under("model.", STATE)}, "`state_dict`, without prefix `model.`"),
    "deep": ({"model": under("model.module.", STATE)}, "`model`, without prefix `model.module.`"),
    "net": ({"net": under("backbone.net.", STATE)}, "`net`, without prefix `backbone.net.`"),
    "an average alone": ({"model_ema": STATE}, "`model_ema`"),
    "SWA": (under("module.", STATE) | {"n_averaged": torch.tensor(3)}, "without prefix `module.`"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_network_is_found_wherever_it_is_and_that_is_said(name: str, tmp_path: Path) -> None:
    saved, taken = FOUND[name]
    found = read_saved(saved, tmp_path)
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[key], value) for key, value in STATE.items())
    assert found.taken == taken
    assert found.notes[:1] == (() if taken is None else (f"weights of tuned.pt: {taken}",))


def test_what_is_not_of_the_network_is_left_and_named(tmp_path: Path) -> None:
    """Lightning keeps the weights of a loss, and the states of metrics, beside those of the network."""
    saved = under("model.", STATE) | {"criterion.weight": torch.ones(2)}
    assert read_saved({"state_dict": saved}, tmp_path).notes == (
        "weights of tuned.pt: `state_dict`, without prefix `model.`",
        "ignored, because they lack the prefix `model.`: criterion.weight",
    )


@pytest.mark.parametrize(
    ("saved", "left"),
    [
        ({"model": STATE, "model_ema": OTHER}, "`model_ema`"),
        ({"ema": {"module": OTHER}, "state_dict": STATE}, "`ema.module`"),
        (
            {"state_dict": under("net.", STATE) | under("ema_net.", OTHER)},
            "`state_dict`, without prefix `ema_net.`",
        ),
        ({"state_dict": STATE, "best": OTHER}, "`best`"),
    ],
)
def test_of_several_networks_the_usual_one_is_taken_and_the_other_named(
    saved: object, left: str, tmp_path: Path
) -> None:
    found = read_saved(saved, tmp_path)
    assert all(torch.equal(found.state[key], value) for key, value in STATE.items())
    assert f"fits too, but was not used: {left}" in found.notes


@pytest.mark.parametrize(
    ("saved", "names"),
    [
        ({"student": STATE, "teacher": OTHER}, "`student`; `teacher`"),
        ({"model": STATE, "state_dict": OTHER}, "`model`; `state_dict`"),
        (under("q.", STATE) | under("k.", OTHER), "without prefix `k.`; without prefix `q.`"),
    ],
)
def test_which_of_several_networks_is_not_guessed_and_the_advice_works(
    saved: object, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="holds several networks that fit") as caught:
        read_saved(saved, tmp_path)
    assert names in caught.value.problem
    follow(str(caught.value.remedy))
    assert read(Path("weights.pt")).state.keys() == STATE.keys()


def test_a_prefix_stays_where_it_is_not_all_that_is_amiss(tmp_path: Path) -> None:
    state = under("model.", {key: value for key, value in STATE.items() if not key.startswith("fc.")})
    with pytest.raises(ModelError) as caught:
        read_saved({"state_dict": state | {"model.head.weight": torch.ones(2, 1)}}, tmp_path)
    assert (
        "torchvision's resnet18 (closest match: `state_dict`, without prefix `model.`)"
        in caught.value.problem
    )
    assert "missing: fc.weight, fc.bias\n" in caught.value.problem
    assert "unexpected: head.weight" in caught.value.problem


def test_a_classifier_whose_bias_is_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fc.bias \(3, 1\) instead of \(2, 1\)"):
        read_saved(STATE | {"fc.bias": torch.ones(3, 1)}, tmp_path)


def of_module(name: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return an object of a class in a module that is gone when the file is read."""
    module, _, kind = name.rpartition(".")
    made = types.ModuleType(module)
    made.__dict__[kind] = type(kind, (), {"__module__": module})
    monkeypatch.setitem(sys.modules, module, made)
    return made.__dict__[kind]()


OBJECTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], object], str]] = {
    "argparse": (lambda _: {"model": STATE, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    "numpy": (lambda _: {"model": STATE, "best": np.float64(1)}, "numpy.dtype"),
    "omegaconf": (
        lambda patch: {"model": STATE, "config": of_module("omegaconf.DictConfig", patch)},
        "omegaconf.DictConfig",
    ),
    "network": (
        lambda _: torch.nn.Sequential(torch.nn.Linear(1, 1)),
        "a whole network, with its code: torch.nn.modules.container.Sequential",
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_file_with_more_than_tensors_says_which_classes_and_how_to_save_weights_alone(
    name: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = OBJECTS[name]
    path = tmp_path / "tuned.pt"
    torch.save(make(monkeypatch), path, _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    with pytest.raises(ModelError) as caught:
        read(path)
    text = str(caught.value)
    if zipped:  # of the older format, only the first is known
        assert expected in text
    assert "model = ...  # the network, with its weights" in text
    assert 'torch.save(model.state_dict(), "weights.pt")' in text
    assert "weights_only" not in text
    assert text.replace("\n", "").isprintable()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tarred(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 46830571\n"
UNLOADABLE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "is empty", "download it again"),
    "Git LFS": (lambda: LFS, "is a Git LFS pointer", "git lfs pull"),
    "HTML": (
        lambda: b"\n<!doctype HTML><html>Log in</html>",
        "is a web page or a server's reply",
        "see what it says",
    ),
    "text": (
        lambda: b"\x1b[31mnot weights",
        r"was not written by torch.save: it begins with b'\x1b[31mnot",
        "state dict",
    ),
    "safetensors": (safetensors, "is a safetensors file", "safetensors.torch.load_file("),
    "TorchScript": (torchscript, "is a TorchScript program", "model = torch.jit.load("),
    "zip": (
        lambda: zipped("a/b.jpg", "c\x1b[2J"),
        "is a zip archive of other files: a/b.jpg, c[2J",
        "unpack it",
    ),
    "old torch": (
        lambda: tarred("sys_info", "pickle", "storages", "tensors"),
        "is a tar archive, torch's format before 2017",
        "with a torch version of that time",
    ),
    "tar": (lambda: tarred("weights.pt"), "is a tar archive of other files: weights.pt", "unpack it"),
    "gzip": (lambda: b"\x1f\x8b\x08\x00" + bytes(90), "is compressed with gzip", "unpack it"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "is a pickle, but not a file of tensors", "state dict"),
    "cut off": (lambda: saved(STATE)[:-100], "is truncated", "download it again"),
    "damaged": (lambda: saved(STATE).replace(b"layer1.0", b"\xff" * 8), "is damaged", "download it again"),
    "old and cut off": (
        lambda: Path("legacy.pt").read_bytes()[:-50],
        "is damaged or truncated",
        "download it again",
    ),
    "no tensors": (lambda: saved({"epoch": 3}), "holds no state dict", "torch.save(model.state_dict()"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", UNLOADABLE)
def test_a_file_that_is_no_checkpoint_says_what_it_is_and_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(STATE, "legacy.pt", _use_new_zipfile_serialization=False)
    make, problem, remedy = UNLOADABLE[name]
    Path("tuned.pt").write_bytes(make())
    with pytest.raises(ModelError) as caught:
        read(Path("tuned.pt"))
    assert f"checkpoint tuned.pt {problem}" in caught.value.problem
    assert remedy in str(caught.value.remedy)
    assert "weights_only" not in str(caught.value)
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_the_advice_for_torchscript_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.pt").write_bytes(torchscript())
    with pytest.raises(ModelError) as caught:
        read(Path("program.pt"))
    follow(str(caught.value.remedy))
    assert torch.load("weights.pt", weights_only=True).keys() == {"weight", "bias"}


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read(tmp_path)
