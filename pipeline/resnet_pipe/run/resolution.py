"""A job brought together with its model, and with an engine where it leaves the choice to us."""

from __future__ import annotations

from collections.abc import Callable

from resnet_pipe.job.job import LoadedJob
from resnet_pipe.job.resolve import Resolved, resolve


def resolved(loaded: LoadedJob, fresh: bool, say: Callable[[str], None]) -> Resolved:
    """Return a job with every choice made, also that of `engine: auto`, about which `say` is told.

    If `fresh`, the results in the output directory will be dropped.

    Raises:
        UsageError: the job and its model do not fit, or no engine can run the model as the job asks.
    """
    job, doc = loaded
    choice = None
    if job.infer.engine == "auto":
        from resnet_pipe.study.choice import choose

        job, choice = choose(job, doc, fresh, say)
    return resolve(job, doc, choice)
