"""Whether every engine computes a small network right: on each device it has here, in each precision."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from resnet_pipe.doctor import small_network
from resnet_pipe.doctor.engine_trial import Setting, Trial, on_a_mac, try_all
from resnet_pipe.doctor.finding import Finding, Level
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import ENGINES, one_line
from resnet_pipe.infer.probe import BatchTimes, Refusal, Result
from resnet_pipe.machine.nvidia import visible_gpus
from resnet_pipe.study.agreement import THRESHOLDS, Agreement, compare, digits

_REBUILT_FACTOR, _REBUILT_S = 5.0, 0.05
"""Building a network takes far longer than a batch; a machine that is busy hardly ever makes it look so."""
_CHECK = "engines"


def check() -> Iterator[Finding]:
    """Try every installed engine, and compare the results."""
    installed = [name for name in ENGINES if find_spec(engines.description(name).library) is not None]
    trials: list[Trial] = []
    try:
        if installed:
            trials = try_all(installed)
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


def _reference(trials: list[Trial]) -> Result | None:
    """Return what the others are compared with: fp32 on the CPU, of the engine most others agree with."""
    tried = [trial.outcome for trial in trials if trial.setting == Setting("cpu", "fp32")]
    results = [outcome for outcome in tried if isinstance(outcome, Result) and _is_finite(outcome)]

    def votes(one: Result) -> int:
        return sum(_compare(other, one).passes("fp32") for other in results)

    return max(results, key=votes, default=None)


def _finding(trial: Trial, reference: Result | None) -> Finding:
    if isinstance(trial.outcome, Refusal):
        return _refused(trial, trial.outcome)
    result = trial.outcome
    if not _is_finite(result):
        return _wrong(trial, "it returns NaN or infinite values")
    if reference is None:
        compared = "nothing to compare it with: no engine runs fp32 on the CPU"
    elif result is reference:
        compared = "the reference for the others"
    else:
        agreement, needed = _compare(result, reference), THRESHOLDS[result.info.precision]
        compared = f"cosine {digits(agreement.cosine_min)}, error {agreement.max_relative_error:.1e}"
        if not agreement.passes(result.info.precision):
            against = f"compared with {reference.info.name} fp32 on the CPU; at least {needed} is required"
            return _wrong(trial, f"wrong results: {compared}, {against}")
    proof = "" if result.info.device == "cpu" else f"; {result.info.proof}"
    return _timed(f"{trial.name}: {compared}{proof}", result.batch_times)


def _timed(text: str, times: BatchTimes | None) -> Finding:
    """Return the finding on an engine with correct results: whether a short batch costs extra time."""
    if times is None:
        return Finding(_CHECK, "OK", text)
    text += f"; {1000 * times.whole:.1f} ms per batch of {small_network.BATCH}"
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
    if not gpus and not on_a_mac():
        yield Finding(_CHECK, "OK", "no GPU here: only the CPU was tested")
    for name in installed if gpus else ():
        for kind in engines.description(name).compiles_for:
            yield Finding(_CHECK, "OK", f"{name} on {kind} was not tested: compiling takes minutes")


def _compare(result: Result, reference: Result) -> Agreement:
    return compare(result.outputs, reference.outputs, *small_network.OUTPUTS)


def _is_finite(result: Result) -> bool:
    return all(bool(np.isfinite(values).all()) for values in result.outputs.values())
