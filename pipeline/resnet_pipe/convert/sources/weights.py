"""The weights in a directory, as transformers and timm save them: tensors by name, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.model.foreign import START, told_by

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("model.safetensors", "pytorch_model.bin")
"""Files with weights, the first that is there; of the second, only tensors are loaded."""


def read(directory: Path) -> tuple[dict[str, Tensor], Path]:
    """Return the weights in a directory, by name, in float32 whatever they were saved as, and their file.

    Raises:
        MissingExtraError: a library is missing that reads them.
        ModelError: there are none, or they are damaged.
    """
    for name in NAMES:
        path = directory / name
        if path.is_file():
            return (_safetensors(path) if path.suffix == ".safetensors" else _pickled(path)), path
    parts = sorted(directory.glob("*.safetensors")) or sorted(directory.glob("*.bin"))
    found = f"; it has {parts[0].name}" if parts else ""
    raise ModelError(
        f"{directory} has no weights: neither {' nor '.join(NAMES)}{found}",
        "give a directory as save_pretrained of transformers (in one file: max_shard_size), or save_for_hf of"
        " timm, writes it",
    )


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtraError("safetensors", "convert", "Reading these weights") from None
    try:
        found: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        with path.open("rb") as opened:
            problem, remedy = told_by(opened.read(START)) or (f"is damaged: {error}", "copy it again")
        raise ModelError(f"{path} {problem}", remedy) from None
    return _float32(found)


def _pickled(path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    from resnet_pipe.convert.sources import checkpoint

    found = checkpoint.load(path)
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} holds more than weights", "convert it as a checkpoint: --weights FILE")
    return _float32({str(name): value for name, value in found.items()})


def _float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights saved in half precision as float32; counters stay what they are."""
    return {name: one.float() if one.is_floating_point() else one for name, one in state.items()}
