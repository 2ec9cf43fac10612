"""Fixtures that more than one part of the tests uses."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

from resnet_pipe.cli.main import main
from resnet_pipe.convert.conversion import Conversion, convert
from resnet_pipe.infer import engine
from resnet_pipe.infer.engine import DEFAULT, ENGINES
from tests.made_once import made_once
from tests.networks import write_pixels, write_tiny
from tests.photographs import NAMES, encode, photograph
from tests.run.commands import Result
from tests.run.jobs import CROP, Cli, JobFolder, VideoFolder, numbered
from tests.study.engines import Install
from tests.videos import SAMPLES, make
from tests.web import Site, publishing

# What the tests start would compile this package again and again, and start threads for a tenth of its time
# to multiply matrices that it does not have.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
settings.register_profile("any machine", deadline=None)  # how long an example takes depends on what else runs
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """In this process nobody waits until files are on the disk: what tests kill, they start as a process."""
    with mock.patch("os.fsync", os.fstat):
        yield


@pytest.fixture(autouse=True)
def _no_real_time_thread() -> Iterator[None]:
    """A test that makes the tests' thread a real-time one fails, and not those after it that starve."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        pytest.fail("this thread has become a real-time one: encode video in `tests.threads.apart`")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["resnet-pipe", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return Result(int(caught.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make engines of `tests.study.engines` the only ones, under names and descriptions of the registry."""
    import resnet_pipe.infer.section  # noqa: F401 - the schema of a job lists the engines that there are now

    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    before = dict(ENGINES)
    described = {name: engine.description(name) for name in before}
    libraries = engine.distributions()
    monkeypatch.setattr(engine, "description", described.__getitem__)
    monkeypatch.setattr(engine, "distributions", lambda: libraries)

    def install_them(**engines: str) -> None:
        ENGINES.clear()
        ENGINES.update({name: f"tests.study.engines.{engines[name]}" for name in before if name in engines})

    yield install_them
    ENGINES.clear()
    ENGINES.update(before)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real photographs as JPEGs, 500 pixels wide, one in a subfolder. Do not change it."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for name in NAMES:
        image = photograph(name)
        image = image.resize((500, round(500 * image.height / image.width)))
        stem = Path(name).stem
        target = folder / "more" if stem == "rocket" else folder
        (target / f"{stem}.jpg").write_bytes(encode(image, "JPEG", quality=90))
    return folder


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """ResNet-18 with random weights, converted once for all who only look at it. Do not change its files."""
    pytest.importorskip("torchvision", reason="needs the extra `convert`")
    from resnet_pipe.convert import check

    def make(folder: Path) -> Conversion:
        with mock.patch.object(check, "ENGINES", {DEFAULT: ENGINES[DEFAULT]}):
            return convert("resnet18", weights="random", out=folder)

    return made_once(tmp_path_factory, "resnet18", make)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with one bucket, `tests.buckets.BUCKET`. Put what you need below a prefix."""
    pytest.importorskip("obstore", reason="needs the extra `cloud`")
    from tests.buckets import serving

    with serving(tmp_path_factory.mktemp("buckets")) as address:
        yield address


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web server over the folders of all tests. Change nothing of it but files."""
    pytest.importorskip("obstore", reason="needs the extra `cloud`")
    with publishing(tmp_path_factory.getbasetemp()) as site:
        yield site


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network. Do not change it."""
    return write_tiny(tmp_path_factory.mktemp("network") / "tiny.onnx")


@pytest.fixture
def make_job(tmp_path: Path, network: Path) -> Callable[[str], JobFolder]:
    """Make a job in a folder of a given name."""

    def make(name: str) -> JobFolder:
        (tmp_path / name).mkdir()
        return JobFolder(tmp_path / name, network)

    return make


@pytest.fixture(scope="session")
def five_done(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A job of five images in three chunks that has run. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("five"), network)
    job.add(*numbered(5))
    job.run().expect(0)
    return job.folder


@pytest.fixture
def done(five_done: Path, tmp_path: Path, network: Path) -> JobFolder:
    """A job of five images in three chunks that has run."""
    shutil.copytree(five_done, tmp_path / "done")
    return JobFolder(tmp_path / "done", network)


@pytest.fixture
def job(make_job: Callable[[str], JobFolder]) -> JobFolder:
    """A job without images."""
    return make_job("job")


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose features are its input. Do not change it."""
    return write_pixels(tmp_path_factory.mktemp("pixels") / "tiny.onnx", CROP)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all sample videos. Do not change it."""
    folder = tmp_path_factory.mktemp("samples")
    for recipe in SAMPLES.values():
        make(folder, recipe)
    return folder


@pytest.fixture
def film(tmp_path: Path, pixels: Path) -> VideoFolder:
    """A job without videos."""
    (tmp_path / "film").mkdir()
    return VideoFolder(tmp_path / "film", pixels)
