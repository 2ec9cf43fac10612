"""The errors that users see, each with a remedy and its exit code."""

from __future__ import annotations

import copyreg
from enum import IntEnum
from typing import Literal

CheckName = Literal["packages", "cv2", "cuda", "engines", "decoders", "limits", "models"]
"""The checks of `resnet-pipe doctor`, in its order."""


class ExitCode(IntEnum):
    """The exit codes of the process, each with what it means. Documented, and never renumbered."""

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> ExitCode:
        """Make a code that has a meaning, in words."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made

    DONE = 0, "all done, or nothing new"
    FAILED = 1, "the run could not finish; the same command continues it"
    USAGE = 2, "wrong usage, job or environment; no row was changed"
    SOME_FAILED = 3, "finished, but some sources failed or are partial"
    WINDOW_ENDED = 4, "the window ended (run.until); the same command continues it"
    LOCKED = 11, "another run is using the output directory"
    SIGINT = 130, "stopped by SIGINT"
    SIGTERM = 143, "stopped by SIGTERM"


class ResnetPipeError(Exception):
    """A problem that is reported to the user without a traceback: what is wrong, and where.

    The remedy says what to do about it: the exact command where there is one. The check is the doctor's that
    explains it; None where the environment is not to blame, or for what the class says.
    """

    exit_code = ExitCode.FAILED
    check: CheckName | None = None

    def __init__(self, problem: str, remedy: str | None = None, check: CheckName | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.check = check or type(self).check
        self.kept: str | None = None
        """What is kept all the same, such as results that were to be replaced, and what to know about it."""

    def __reduce__(self) -> tuple[object, ...]:
        # For the way between processes: made again from what it says, not from what its class is given.
        return copyreg.__newobj__, (type(self), self.problem), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        lines = [self.problem]
        if self.kept is not None:
            lines.append(self.kept)
        if self.remedy is not None:
            lines.append(f"what to do: {self.remedy}")
        if self.check is not None:
            lines.append(f"diagnose with: resnet-pipe doctor {self.check}")
        return "\n  ".join(lines)


class UsageError(ResnetPipeError):
    """The command, the job, the model or the environment is wrong; nothing has been started."""

    exit_code = ExitCode.USAGE


class DocumentError(UsageError):
    """A YAML document is wrong in one or more places, each a line that begins with `file:line:column`."""

    def __init__(self, problems: list[str], remedy: str | None = None) -> None:
        super().__init__("\n".join(problems), remedy)
        self.problems = problems


class MissingExtraError(UsageError):
    """An optional library is not installed; an extra of resnet-pipe would install it."""

    check = "packages"

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed.",
            f"pip install 'resnet-pipe[{extra}]'",
        )


class HomeError(UsageError):
    """This user has no cache directory."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "set XDG_CACHE_HOME to a directory that this user can write to", "models")


class ModelError(UsageError):
    """A model file, its sidecar or a checkpoint cannot be used."""


class NoBoxesError(ModelError):
    """What a network gives is not what is said of it, and so it is in every engine."""


class DeviceError(UsageError):
    """A requested device or precision is not available. There is never a silent fallback."""

    check = "engines"


class UnsupportedError(DeviceError):
    """A device is there, and the engine cannot run this network on it."""


class EngineError(ResnetPipeError):
    """The engine failed while running the network."""


class RunError(ResnetPipeError):
    """The run cannot continue. Committed results are kept."""


class LockedError(ResnetPipeError):
    """Another run is using the output directory."""

    exit_code = ExitCode.LOCKED


class StoppedError(ResnetPipeError):
    """A signal ended the run before it had anything to commit. The exit code is 130 or 143."""

    def __init__(self, problem: str, exit_code: ExitCode) -> None:
        super().__init__(problem)
        self.exit_code = exit_code


class SourceError(Exception):
    """One source cannot be processed in a stage. It becomes a failure; the run continues.

    The error is a short, stable class, such as `truncated`, for counting and filtering; the message says it
    in words. If it is transient, it may say more about the machine at this moment than about the source.
    """

    def __init__(self, stage: str, error: str, message: str, transient: bool = False) -> None:
        super().__init__(stage, error, message)
        self.stage = stage
        self.error = error
        self.message = message
        self.transient = transient
