"""From the command to the first rows, of 16 images, and to the end of the run; and the modules it loads.

usage: python -m benchmarks.start MODEL.onnx [--engine openvino] [--repeats 5]

The run before the first one that counts fills the caches. The modules are those of the run and of its
workers; a library that such a job does not use is named.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks import measure
from benchmarks.folder import sample_folder

from resnet_pipe.infer.engine import ENGINES

IMAGES = 16
TARGET_S = 2.5
USED = {
    "resnet_pipe",
    *("click", "tqdm"),  # the command line
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "ruamel"),
    *("onnx", "google", "ml_dtypes"),  # the model's inputs and outputs
    *("jinja2", "markupsafe", "matplotlib", "mpl_toolkits", "cycler", "dateutil", "fontTools"),  # the report
    *("kiwisolver", "pyparsing", "six"),
    *("numpy", "PIL", "simplejpeg", "pyarrow", "cloudpickle"),
}
"""Libraries that a job from JPEGs to Parquet uses, with what they load themselves."""
ENGINE_LIBRARIES = {"opencv": ("cv2",), "openvino": ("openvino", "openvino_telemetry", "packaging")}
"""The same for the engines where it is not one library with the engine's name."""
NOT_LIBRARIES = sys.stdlib_module_names | {"sitecustomize", "usercustomize", "_distutils_hack"}


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", choices=ENGINES, default="openvino")
    arguments = parser.parse_args()
    used = USED.union(ENGINE_LIBRARIES.get(arguments.engine, (arguments.engine,)))
    with sample_folder(arguments.model, IMAGES) as folder:
        command = [sys.executable, "-m", "resnet_pipe", "run", str(folder.job), "--fresh", "--quiet"]
        command += measure.set_flags([f"infer.engine={arguments.engine}"])
        loaded_us = modules(command)
        seconds, whole = [], []
        for _ in range(arguments.repeats):
            started = time.time()
            subprocess.run(command, check=True)
            whole.append(time.time() - started)
            seconds.append(committed_at(folder.directory) - started)
            print(f"{seconds[-1]:.2f} s to the rows, {whole[-1]:.2f} s to the end", flush=True)
    median = statistics.median(seconds)
    unused = sorted(set(loaded_us) - used)
    end = statistics.median(whole)
    print(f"{arguments.engine}, {IMAGES} images: {median:.2f} s to the rows, target {TARGET_S} s")
    print(f"to the end, with the report: {end:.2f} s")
    for library, us in loaded_us.most_common(12):
        print(f"{library:<24}{us / 1000:>8.0f} ms to load, in the run and the workers together")
    print(f"not used, but loaded: {', '.join(unused) or 'nothing'}")
    result = {
        "seconds": median,
        "all_seconds": seconds,
        "seconds_to_the_end": end,
        "not_used": unused,
        "load_us": dict(loaded_us),
    }
    measure.save(f"start-{arguments.engine}-{arguments.model.stem}", result)


def committed_at(directory: Path) -> float:
    """Return when the last run below a directory had committed its rows, seconds since 1970."""
    log = max(directory.glob("**/_resnet_pipe/runs/*/log.jsonl"))
    events = map(json.loads, log.read_text().splitlines())
    time_of = {event["event"]: event["time"] for event in events}
    return datetime.fromisoformat(time_of["chunk_committed"]).timestamp()


def modules(command: list[str]) -> Counter[str]:
    """Run a command and return the microseconds that loading each library took, over all its processes."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    loaded_us: Counter[str] = Counter()
    for own_us, module in re.findall(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", done.stderr, re.M):
        loaded_us[module.partition(".")[0]] += int(own_us)
    # Python itself, what it loads in this environment, and what was looked for and is not there.
    for name in [name for name in loaded_us if name in NOT_LIBRARIES or find_spec(name) is None]:
        del loaded_us[name]
    return loaded_us


if __name__ == "__main__":
    main()
