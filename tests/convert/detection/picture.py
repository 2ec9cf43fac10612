"""Makes docs/detection.jpg: `python -m tests.convert.detection.picture docs/detection.jpg`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.convert.detection.drawn import held_out
from tests.convert.detection.test_trained import convert, execute
from tests.convert.detection.trained import trained

_COLUMNS, _ROWS = 4, 2
_SCALE = 4.0
_SCORE = 0.5
_QUALITY = 68


def picture(path: Path) -> None:
    """Train a detector, have a job draw what it finds on pictures that it has not seen, and join these."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert(trained(), folder)
        (folder / "images").mkdir()
        for number, each in enumerate(held_out(_COLUMNS * _ROWS, (_SCALE, _SCALE))):
            Image.fromarray(each.image).save(folder / "images" / f"{number}.jpg", quality=95)
        (folder / "job.yaml").write_text(
            "name: shapes\nreader: {kind: images, path: images}\n"
            f"infer: {{model: tuned.onnx, device: cpu, score: {_SCORE}}}\n"
            "writer: {kind: images, path: out, draw: boxes}\nrun: {report: false, canary: 0}\n"
        )
        execute("run", str(folder / "job.yaml"))
        _joined(sorted((folder / "out" / "images").iterdir())).save(path, quality=_QUALITY, optimize=True)


def _joined(paths: list[Path]) -> Image.Image:
    """Return pictures in rows, all equally high, on white."""
    images = [Image.open(path).convert("RGB") for path in paths]
    rows = [images[start : start + _COLUMNS] for start in range(0, len(images), _COLUMNS)]
    width = max(sum(image.width for image in row) for row in rows)
    height = sum(max(image.height for image in row) for row in rows)
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for row in rows:
        left = 0
        for image in row:
            whole.paste(image, (left, top))
            left += image.width
        top += max(image.height for image in row)
    return whole


if __name__ == "__main__":
    picture(Path(sys.argv[1]))
