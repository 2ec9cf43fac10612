"""A Ray cluster of one machine against the machine itself: whole runs, in turns.

usage: python -m benchmarks.cluster [--images 6400] [--repeats 5]

JPEGs of 500x375 pixels to Parquet, with a network of one layer, so that only reading to writing remains.
The daemons of Ray share the processors with the runs.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import measure
from benchmarks.folder import sample_folder
from benchmarks.overhead import JOB, write_one_layer
from ray.cluster_utils import Cluster

from resnet_pipe.machine.limits import available_cores


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("--images", type=int, default=6400)
    arguments = parser.parse_args()
    with TemporaryDirectory() as directory:
        model = Path(directory, "one_layer.onnx")
        write_one_layer(model)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        node = {"num_cpus": available_cores(), "include_dashboard": False}  # else it has one core
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            with sample_folder(model, arguments.images, JOB) as folder:
                on_cluster = ("run.executor=ray", f"run.ray.address={cluster.address}")
                programs = {
                    "local": partial(measure.resnet_pipe, folder.job),
                    "ray": partial(measure.resnet_pipe, folder.job, *on_cluster),
                }
                sitting = measure.alternate(programs, arguments.repeats)
        finally:
            cluster.shutdown()
    print(f"Ray: {sitting.median['ray'] / sitting.median['local']:.2f} of the machine's rate")
    measure.save("cluster", {"images": arguments.images, "rates": sitting.rates})


if __name__ == "__main__":
    main()
