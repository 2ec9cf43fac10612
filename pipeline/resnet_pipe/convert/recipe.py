"""The recipe of a conversion: which network, which weights, which preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from resnet_pipe.errors import UsageError
from resnet_pipe.job import document
from resnet_pipe.job.location import located
from resnet_pipe.model.depths import DEPTHS, resnet
from resnet_pipe.model.detection import OF_TORCHVISION
from resnet_pipe.model.model import recipes_dir
from resnet_pipe.preprocess.preprocessing import Preprocessing

ARCHITECTURES = {resnet(depth): depth for depth in DEPTHS}
"""torchvision's name -> depth."""
TORCHVISION = "torchvision"
"""Where the networks of recipes come from."""
NAMED_WEIGHTS = ("imagenet", "random", "auto")
"""Weights that are not a file."""
OF_A_CHECKPOINT = Preprocessing(resize=256, crop=224, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""Default for a checkpoint: what torchvision's training script and most others use for evaluation. The
recipes in the package have the values for torchvision's own weights."""


class Recipe(BaseModel):
    """What a recipe file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[Literal["torchvision"], Field(description="where the network comes from")]
    architecture: Annotated[
        Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
        Field(description="name of the network there"),
    ]
    weights: Annotated[
        str, Field(min_length=1, description="imagenet, random, auto, or a checkpoint next to the recipe")
    ] = "imagenet"
    classes: Annotated[
        Annotated[int, Field(ge=1)] | list[str],
        Field(description="how many classes a checkpoint or random weights have, or their labels"),
    ] = 1000
    preprocess: Annotated[Preprocessing, Field(description="how images are preprocessed")]

    @field_validator("weights")
    @classmethod
    def _located(cls, value: str, info: ValidationInfo) -> str:
        if value not in NAMED_WEIGHTS:
            located(value, info.context["base"] if info.context else Path())
        return value

    @property
    def depth(self) -> int:
        """Return the depth of the network."""
        return ARCHITECTURES[self.architecture]

    @property
    def class_count(self) -> int:
        """Return how many classes the recipe speaks of."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)


def is_recipe(spec: str) -> bool:
    """Tell whether a spec is a recipe file, or the bare name of a recipe in the package."""
    return spec.endswith((".yaml", ".yml")) or (
        "/" not in spec and (recipes_dir() / f"{spec}.yaml").is_file()
    )


def find(recipe: str) -> Path:
    """Return the file of a recipe: a path, or the bare name of one in the package; else a `UsageError`."""
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = recipes_dir() / f"{recipe}.yaml"
    if not shipped.is_file():
        known = ", ".join((*ARCHITECTURES, *OF_TORCHVISION))
        remedy = (
            f"give one of {known}; hf:OWNER/NAME or timm:NAME; or the path of a directory, an .onnx file or a"
            " recipe"
        )
        raise UsageError(f"there is no network {recipe!r}", remedy)
    return shipped


def load(path: Path) -> Recipe:
    """Read and check a recipe; a `DocumentError` has every problem found, each with its place."""
    return document.read(path).validate(Recipe, {"base": path.parent})
