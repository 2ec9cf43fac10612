"""Every engine with all its devices and precisions here, running a small network in its own process."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from resnet_pipe.doctor import small_network
from resnet_pipe.infer.engine import ENGINES, EngineRequest
from resnet_pipe.infer.probe import Probe, Refusal, RefusedError, Result, Work
from resnet_pipe.machine.cores import available_cores
from resnet_pipe.machine.nvidia import visible_gpus

PATIENCE_S = 60.0
"""An engine that takes longer hangs: all together took 19 s on two cores shared by eight processes."""

_WEIGHT_BITS = (7, 8)
"""Of int8 networks: one that is correct on every processor, and one that is not."""


@dataclass(frozen=True)
class Setting:
    """What an engine is to run with, as in a job.

    An int8 network has weights of 7 bits, as `convert` makes them if it can, or of 8.
    """

    device: str
    precision: str
    weight_bits: int | None = None


@dataclass(frozen=True)
class Trial:
    """The outcome for an engine: what it gave, or why it gave nothing, perhaps before it got a setting."""

    engine: str
    setting: Setting | None
    outcome: Result | Refusal

    @property
    def name(self) -> str:
        """Return engine and version, device and precision, as far as they are known."""
        if self.setting is None:
            return self.engine
        bits = self.setting.weight_bits
        computes_in = f"{self.setting.precision} with {bits}-bit weights" if bits else self.setting.precision
        if isinstance(self.outcome, Result):
            info = self.outcome.info
            return f"{self.engine} {info.version}, {info.device}, {computes_in}"
        return f"{self.engine}, {self.setting.device}, {computes_in}"


def try_all(engines: Sequence[str]) -> list[Trial]:
    """Try at least one engine, all at the same time; return them in this order, at least one trial each.

    Raises:
        ImportError: onnx does not work here.
        OSError: no file can be written.
    """
    with TemporaryDirectory(prefix="resnet-pipe-") as folder:
        networks = {
            bits: small_network.write(Path(folder) / f"{bits or 'no'}-bits.onnx", bits)
            for bits in (None, *_WEIGHT_BITS)
        }
        with ThreadPoolExecutor(len(engines)) as threads:
            return [trial for trials in threads.map(partial(_try, networks), engines) for trial in trials]


def on_a_mac() -> bool:
    """Tell whether there may be a GPU of Apple's."""
    return sys.platform == "darwin"


def _try(networks: Mapping[int | None, Path], engine: str) -> list[Trial]:
    """Try an engine with all it has, in one process: most of the time goes into importing its library.

    After a crash, another process goes on.
    """
    trials: list[Trial] = []
    settings: deque[Setting] | None = None
    while settings is None or settings:
        with Probe(ENGINES[engine]) as probe:
            try:
                had = probe.abilities("cpu", PATIENCE_S).devices
            except RefusedError as error:
                return [*trials, Trial(engine, None, error.refusal)]
            settings = deque(_settings(had)) if settings is None else settings
            while settings:
                setting = settings.popleft()
                outcome = _execute(probe, networks[setting.weight_bits], setting)
                trials.append(Trial(engine, setting, outcome))
                if isinstance(outcome, Refusal) and outcome.status != "cannot run":
                    break
    return trials


def _settings(had: Mapping[str, tuple[str, ...]]) -> Iterator[Setting]:
    """Yield what an engine is tried with: on the first GPU in every precision, on others in the first."""
    for precision in had.get("cpu", ()):
        for bits in _WEIGHT_BITS if precision == "int8" else (None,):
            yield Setting("cpu", precision, bits)
    for number in range(visible_gpus()):
        for precision in had.get("cuda", ())[: 1 if number else None]:
            yield Setting(f"cuda:{number}", precision)
    if on_a_mac():
        for precision in had.get("mps", ()):
            yield Setting("mps", precision)


def _execute(probe: Probe, network: Path, setting: Setting) -> Result | Refusal:
    request = EngineRequest(
        model=network,
        preprocessing=small_network.PREPROCESSING.network_input,
        outputs=small_network.OUTPUTS,
        batch_size=small_network.BATCH,
        device=setting.device,
        precision=setting.precision,
        threads=available_cores(),
        streams=1,  # so that each batch goes where the last one has been
    )
    try:
        return probe.result(Work(request, small_network.images(), single_batches=True), PATIENCE_S)
    except RefusedError as error:
        return error.refusal
