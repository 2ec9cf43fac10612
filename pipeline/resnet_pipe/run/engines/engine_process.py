"""The process of an engine: `python -m resnet_pipe.run.engines.engine_process CONNECTION MEMORY RUN`.

It inherits two descriptors, and is given the process id of the run. What crashes in a driver or a library
takes this process down, and the run ends with a word about it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from resnet_pipe.errors import EngineError, ModelError, ResnetPipeError, RunError
from resnet_pipe.infer.engine import Engine, one_line
from resnet_pipe.machine.memory import keep_freed_memory, peak_rss_kb
from resnet_pipe.process import child
from resnet_pipe.run.engines.remote_engine import Answer, Ready, Setup, Work
from resnet_pipe.run.workers.slots import Slots


def main(arguments: list[str]) -> None:
    """Serve the run. `arguments` are the descriptors of connection and memory, and the run's process id."""
    child.die_with(int(arguments[2]))
    keep_freed_memory()
    connection: Any = Connection(int(arguments[0]))
    try:
        setup: Setup = connection.recv()
        try:
            engine: Engine = importlib.import_module(setup.module).load(setup.request)
        except ResnetPipeError as error:
            connection.send(error)
            return
        except Exception as error:  # a library may raise anything over a file from someone else
            problem = f"{setup.request.model} cannot be run: {type(error).__name__}: {one_line(error)}"
            connection.send(ModelError(problem))
            return
        connection.send(Ready(engine.describe(), peak_rss_kb()))
        _serve(connection, engine, Slots(setup.shape, int(arguments[1])))
    except (EOFError, ConnectionError):
        os._exit(0)  # the run has closed the connection or is gone


def _serve(connection: Any, engine: Engine, slots: Slots) -> None:  # noqa: ANN401 - a Connection
    lock = threading.Lock()

    def execute(work: Work) -> None:
        outputs: Any
        try:
            outputs = engine.infer(slots.batch(work.slot)[work.rows.start : work.rows.stop])
        except EngineError as error:
            outputs = error
        except Exception as error:  # what nobody foresaw ends the run, and is told on one line
            outputs = RunError(f"the engine failed: {type(error).__name__}: {one_line(error)}")
        with lock:
            connection.send(Answer(work.number, outputs, peak_rss_kb()))

    threads = ThreadPoolExecutor(engine.streams, "stream")
    while True:
        message: Work | int = connection.recv()
        if isinstance(message, int):
            engine.shrink(message)
        else:
            threads.submit(execute, message)


if __name__ == "__main__":
    main(sys.argv[1:])
