"""Whether every engine computes a small network right: on each device it has here, in each precision."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from resnet_pipe.doctor import small_network
from resnet_pipe.doctor.examination import Finding, Level
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import ENGINES, EngineRequest, one_line
from resnet_pipe.infer.probe import Probe, Refusal, RefusedError, Result, Work
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.machine.nvidia import visible_gpus
from resnet_pipe.study.agreement import Agreement, compare, digits

PATIENCE_S = 60.0
"""An engine that takes longer hangs: all together took 19 s on two cores shared by eight processes."""
_WEIGHT_BITS = (7, 8)
"""Of int8 networks: one that is correct on every processor, and one that is not."""
_REBUILT_FACTOR, _REBUILT_S = 5.0, 0.05
"""Building a network takes far longer than a batch; a machine that is busy hardly ever makes it look so."""
_CHECK = "engines"


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
        engine, device, computes_in = self.engine, self.setting.device, self.setting.precision
        if isinstance(self.outcome, Result):
            engine, device = f"{engine} {self.outcome.info.version}", self.outcome.info.device
        if self.setting.weight_bits:
            computes_in += f" with {self.setting.weight_bits}-bit weights"
        return f"{engine}, {device}, {computes_in}"


def check() -> Iterator[Finding]:
    """Try every installed engine, and compare the results."""
    installed = [name for name in ENGINES if find_spec(engines.description(name).library) is not None]
    trials: list[Trial] = []
    try:
        if installed:
            trials = _try_all(installed)
    except ImportError as error:
        text = f"the engines cannot be tested, because onnx cannot be imported: {one_line(error)}"
        yield Finding(_CHECK, "FAIL", text, "pip install --force-reinstall onnx")
    except OSError as error:
        text = f"the engines cannot be tested, because no temporary file can be written: {one_line(error)}"
        yield Finding(_CHECK, "FAIL", text, "TMPDIR=/a/directory/that/can/be/written resnet-pipe doctor")
    reference = _reference(trials)
    for trial in trials:
        yield _finding(trial, reference)
    yield from _left_out(installed)


def _try_all(names: Sequence[str]) -> list[Trial]:
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
        with ThreadPoolExecutor(len(names)) as threads:
            return [trial for trials in threads.map(partial(_try, networks), names) for trial in trials]


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
    if sys.platform == "darwin":
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


def _reference(trials: list[Trial]) -> Result | None:
    """Return what the others are compared with: fp32 on the CPU, of the engine most others agree with."""
    tried = [trial.outcome for trial in trials if trial.setting == Setting("cpu", "fp32")]
    results = [outcome for outcome in tried if isinstance(outcome, Result) and _is_finite(outcome)]

    def votes(one: Result) -> int:
        return sum(_compare(other, one).passes("fp32") for other in results)

    return max(results, key=votes, default=None)


def _finding(trial: Trial, reference: Result | None) -> Finding:
    result = trial.outcome
    if isinstance(result, Refusal):
        return _refused(trial, result)
    if not _is_finite(result):
        return _wrong(trial, "it returns NaN or infinite values")
    if reference is None:
        compared = "nothing to compare it with: no engine runs fp32 on the CPU"
    elif result is reference:
        compared = "the reference for the others"
    else:
        agreement = _compare(result, reference)
        compared = f"cosine {digits(agreement.cosine_min)}, error {agreement.max_relative_error:.1e}"
        if problem := agreement.problem(result.info.precision, f"{reference.info.name} fp32 on the CPU"):
            return _wrong(trial, f"wrong results: {compared}; {problem}")
    proof = "" if result.info.device == "cpu" else f"; {result.info.proof}"
    times = result.batch_times
    assert times is not None  # noqa: S101 - they were asked for
    text = f"{trial.name}: {compared}{proof}; {1000 * times.whole:.1f} ms per batch of {small_network.BATCH}"
    cost = max(times.short, times.again) - times.whole
    if cost > max(_REBUILT_S, (_REBUILT_FACTOR - 1) * times.whole):
        text += f"; a short batch rebuilds the network: {1000 * cost:.0f} ms"
        return Finding(_CHECK, "WARN", text, "use another infer.engine if there are many small chunks")
    return Finding(_CHECK, "OK", f"{text}; short batches cost nothing extra")


def _wrong(trial: Trial, text: str) -> Finding:
    eight_bits = trial.setting is not None and trial.setting.weight_bits == 8
    remedy = engines.SATURATION_REMEDY if eight_bits else _another(trial.engine)
    return Finding(_CHECK, "FAIL", f"{trial.name}: {text}", remedy)


def _refused(trial: Trial, refusal: Refusal) -> Finding:
    """Return the finding on an engine that gave no result.

    What it lacks for a GPU (a build with CUDA, a precision) is a warning: it may be meant for the CPU. So are
    weights of 8 bits where only those of 7 run right: no run will compute them wrong.
    """
    remedy = refusal.remedy or _another(trial.engine)
    if "out of memory" in refusal.reason:
        remedy = "give it more memory (in a container: docker run --memory=2g ...)"
        remedy += ", or use another infer.engine"
    if refusal.status == "not installed":  # but it is
        library = engines.description(trial.engine).library
        text = f"{library} is installed, but cannot be imported: {refusal.reason}"
        return Finding(_CHECK, "FAIL", f"{trial.name}: {text}", remedy)
    setting = trial.setting
    can_do_without = setting is not None and (setting.device != "cpu" or setting.weight_bits == 8)
    level: Level = "WARN" if can_do_without and refusal.status == "cannot run" else "FAIL"
    return Finding(_CHECK, level, f"{trial.name}: {refusal.status}: {refusal.reason}", remedy)


def _another(engine: str) -> str:
    distribution = engines.description(engine).distributions[0]
    return f"pip install --force-reinstall {distribution}; or use another infer.engine"


def _left_out(installed: list[str]) -> Iterator[Finding]:
    """Yield which engines were not tested, and why."""
    missing = {name: engines.description(name) for name in ENGINES if name not in installed}
    for name, engine in missing.items():
        if not engine.extra:
            text = f"{name}: {engine.library} is not installed"
            yield Finding(_CHECK, "FAIL", text, f"pip install {engine.distributions[0]}")
    extras = {name: engine.extra for name, engine in missing.items() if engine.extra}
    if extras:
        how = f"pip install 'resnet-pipe[{','.join(extras.values())}]'"
        yield Finding(_CHECK, "OK", f"not installed: {', '.join(extras)}; to add them: {how}")
    gpus = visible_gpus()
    if not gpus and sys.platform != "darwin":
        yield Finding(_CHECK, "OK", "no GPU here: only the CPU was tested")
    for name in installed if gpus else ():
        for kind in engines.description(name).compiles_for:
            yield Finding(_CHECK, "OK", f"{name} on {kind} was not tested: compiling takes minutes")


def _compare(result: Result, reference: Result) -> Agreement:
    return compare(result.outputs, reference.outputs, *small_network.OUTPUTS)


def _is_finite(result: Result) -> bool:
    return all(bool(np.isfinite(values).all()) for values in result.outputs.values())
