"""What a user would write by hand instead: a folder of JPEGs -> OpenVINO, its queue of requests -> Parquet.

usage: python -m benchmarks.peers.openvino_async IMAGE_DIR MODEL.onnx OUT.parquet [BATCH]

Prints one line of JSON: images and seconds after the model is loaded.
"""

from __future__ import annotations

from typing import Any

import openvino
from benchmarks.peers.script import Batch, Script


def main() -> None:
    """Run the network over a folder and write its first output."""
    script = Script()
    network = openvino.Core().compile_model(str(script.model), "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    script.start()
    results: dict[int, Batch] = {}

    def keep(request: Any, index: int) -> None:  # noqa: ANN401 - OpenVINO's own type
        results[index] = request.get_output_tensor(0).data.copy()

    requests = openvino.AsyncInferQueue(network)
    requests.set_callback(keep)
    for index, batch in enumerate(script.batches()):
        requests.start_async({0: batch}, index)
    requests.wait_all()
    script.write([results[index] for index in sorted(results)])
    script.stop()


if __name__ == "__main__":
    main()
