"""The process of an engine. What crashes in a driver or a library takes it down, and the run says so."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from resnet_pipe.errors import EngineError, ModelError, ResnetPipeError, RunError
from resnet_pipe.infer.engine import Engine, EngineRequest, one_line
from resnet_pipe.machine.memory import keep_freed_memory, peak_rss_kb
from resnet_pipe.run.engines.detecting import Detecting
from resnet_pipe.run.engines.remote_engine import EngineReady, EngineSetup, ForwardPass, ForwardResult, lanes
from resnet_pipe.run.workers.slots import Slots


def serve(connection: Connection, memory: int) -> None:
    """Serve the run; `memory` is the descriptor of the memory with the slots."""
    keep_freed_memory()
    setup: EngineSetup = connection.recv()
    try:
        load: Callable[[EngineRequest], Engine] = importlib.import_module(setup.module).load
        engine, detecting = load(setup.request), None
        if setup.detections is not None:
            detecting = setup.detections(engine, load)
            detecting.prove(setup.request)
    except ResnetPipeError as error:
        connection.send(error)
        return
    except Exception as error:  # a library may raise anything over a file from someone else
        problem = f"{setup.request.model} cannot be run: {type(error).__name__}: {one_line(error)}"
        connection.send(ModelError(problem))
        return
    connection.send(EngineReady(engine.describe(), peak_rss_kb()))
    _execute(connection, engine, detecting, Slots(setup.shape, memory))


def _execute(connection: Connection, engine: Engine, detecting: Detecting | None, slots: Slots) -> None:
    lock = threading.Lock()

    def execute(work: ForwardPass) -> None:
        outputs: Any
        parts: dict[str, float] = {}
        try:
            batch = slots.batch(work.slot, work.size)[work.rows.start : work.rows.stop]
            if detecting is None or work.placements is None:
                outputs = engine.infer(batch)
            else:
                outputs, parts = detecting.timed(batch, work.placements)
        except (EngineError, ModelError) as error:
            outputs = error
        except Exception as error:  # what nobody foresaw ends the run, and is told on one line
            outputs = RunError(f"the engine failed: {type(error).__name__}: {one_line(error)}")
        with lock:
            connection.send(ForwardResult(work.number, outputs, peak_rss_kb(), parts))

    threads = ThreadPoolExecutor(lanes(engine.streams, detecting is not None), "stream")
    while True:
        message: ForwardPass | int = connection.recv()
        if isinstance(message, int):
            engine.shrink(message)
        else:
            threads.submit(execute, message)
