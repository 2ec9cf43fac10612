"""The images and the compose file: what they are made of, who they run as, and that their job runs.

What hadolint knows of Dockerfiles, `make lint` asks it. `docker/check.sh` builds and runs the CPU image.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from resnet_pipe.cli.main import commands
from resnet_pipe.job import job
from resnet_pipe.job.run_section import RunSection
from resnet_pipe.store.objects import Objects
from tests.networks import preprocess_yaml, write_tiny
from tests.run.jobs import Cli, JobFolder, numbered

tomllib = pytest.importorskip("tomllib", reason="is part of Python 3.11, and the images have a newer one")

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "Dockerfile.cuda"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]

both = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, each as its keyword and the rest, on one line."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(keyword, re.sub(r"\s+", " ", rest.strip())) for keyword, _, rest in pairs]


def last(dockerfile: Path, keyword: str) -> str:
    """Return the last instruction of a kind: that of the image which comes out."""
    return [rest for name, rest in instructions(dockerfile) if name == keyword][-1]


def default(dockerfile: Path, argument: str) -> str:
    """Return what a build argument is if it is not given."""
    found = dict(
        rest.partition("=")[::2] for name, rest in instructions(dockerfile) if name == "ARG" and "=" in rest
    )
    return found[argument]


def requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        sys.executable,
        DOCKER / "requirements.py",
        ROOT / "pyproject.toml",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@both
def test_an_image_is_built_on_a_slim_python_of_a_named_debian_and_on_nothing_else(dockerfile: Path) -> None:
    assert re.fullmatch(r"docker\.io/library/python:3\.1[0-3]-slim-\w+", default(dockerfile, "BASE"))
    assert {rest.split()[0] for name, rest in instructions(dockerfile) if name == "FROM"} <= {
        "${BASE}",
        "scratch",
    }


@both
def test_an_image_runs_our_command_itself_and_as_a_user_without_rights(dockerfile: Path) -> None:
    assert (
        last(dockerfile, "ENTRYPOINT") == f'["{next(iter(PROJECT["scripts"]))}"]'
    )  # no shell that eats signals
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last(dockerfile, "USER"))


@both
def test_an_image_keeps_nothing_of_what_only_its_making_needs(dockerfile: Path) -> None:
    for name, rest in instructions(dockerfile):
        if name != "RUN":
            continue
        assert "pip install" not in rest or "--no-cache-dir" in rest, rest
        assert "apt-get install" not in rest or {"--no-install-recommends", "/var/lib/apt/lists/*"} < set(
            rest.split()
        ), rest
        assert "pip.conf" not in re.sub(r"--mount=\S*", "", rest), "it may hold a password"


def test_what_is_sent_to_the_builder_is_what_the_images_are_made_of() -> None:
    used = {"LICENSE", "README.md", "models/*.yaml", "pipeline", "pyproject.toml"}  # of the package itself
    for dockerfile in DOCKERFILES:
        for name, rest in instructions(dockerfile):
            if name == "COPY" and "--from" not in rest:
                used |= set(rest.split()[:-1])
            used |= set(re.findall(r"--mount=type=bind,source=([^,]+)", rest))
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == used
    assert all(list(ROOT.glob(source)) for source in used)


@both
def test_an_image_has_the_extras_it_names_and_no_torch(dockerfile: Path) -> None:
    names = {
        Requirement(line).name for line in requirements(default(dockerfile, "EXTRAS")).stdout.splitlines()
    }
    assert {Requirement(line).name for line in PROJECT["dependencies"]} | {"jinja2", "matplotlib"} <= names
    assert ("openvino" in names) == (dockerfile.name == "Dockerfile")
    assert not names & {"torch", "torchvision", "resnet-pipe"}


def test_extras_that_name_others_are_those_others_and_an_unknown_one_is_refused() -> None:
    everything = requirements("all").stdout.splitlines()
    assert len(everything) == len(set(everything))
    extras = PROJECT["optional-dependencies"]  # a cluster's is for nodes, and not among all
    named = {one for extra, wanted in extras.items() for one in wanted if extra != "ray"}
    libraries = {one for one in named if not one.startswith("resnet-pipe[")}
    assert set(everything) == libraries.union(PROJECT["dependencies"])
    assert requirements("").stdout.splitlines() == PROJECT["dependencies"]
    refused = requirements("openvin")
    assert refused.returncode == 1
    assert "unknown extra 'openvin'; available: convert, hub" in refused.stderr


def test_a_service_builds_an_image_that_is_there_and_is_stopped_later_than_its_run_stops() -> None:
    service = SERVICES["nightly"]
    for build in (service["build"], SERVICES["nightly-gpu"]["build"]):
        assert (DOCKER / service["build"]["context"] / build["dockerfile"]).is_file()
    assert float(service["stop_grace_period"].removesuffix("s")) > RunSection().grace_s
    assert service["init"]
    assert "restart" not in service  # a batch job would run again and again


def test_the_job_of_a_service_has_its_paths_mounted_and_can_write_only_its_results() -> None:
    volumes = {volume["target"]: volume for volume in SERVICES["nightly"]["volumes"]}
    job = YAML(typ="safe").load(DOCKER / "nightly.yaml")
    for path in (job["reader"]["path"], job["infer"]["model"], job["writer"]["path"]):
        assert f"/{Path(path).parts[1]}" in volumes
    assert [target for target, volume in volumes.items() if not volume.get("read_only")] == [
        "/out",
        "/home/pipe",
    ]
    assert SERVICES["nightly"]["read_only"]
    assert (DOCKER / volumes[last(DOCKERFILES[0], "WORKDIR") + "/nightly.yaml"]["source"]).samefile(
        DOCKER / "nightly.yaml"
    )


def test_the_command_of_the_nightly_service_processes_images(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobFolder(tmp_path, write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(3))
    here = {
        "reader.path": job.images,
        "infer.model": tmp_path / "tiny.onnx",
        "infer.engine": "opencv",
        "writer.path": job.out,
        "preprocess": preprocess_yaml(),
        "run.report": "false",
    }
    monkeypatch.chdir(DOCKER)
    result = cli(
        *SERVICES["nightly"]["command"],
        *(word for key, value in here.items() for word in ("--set", f"{key}={value}")),
    )
    result.expect(0)
    assert result.stdout == ""
    assert sum(pq.read_table(part).num_rows for part in job.out.glob("part-*.parquet")) == 3


def test_the_command_of_the_gpu_service_is_one_that_we_have() -> None:
    name, *arguments = SERVICES["nightly-gpu"]["command"]
    parsed = commands.commands[name].make_context(name, arguments).params
    assert parsed["overrides"] == ("infer.engine=opencv", "infer.device=cuda")
    assert parsed["quiet"]


def test_the_indexed_job_of_kubernetes_has_a_pod_for_each_division_and_time_for_a_chunk() -> None:
    spec = YAML(typ="safe").load(DOCKER / "kubernetes" / "divided.yaml")["spec"]
    pod = spec["template"]["spec"]
    (run,) = pod["containers"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert f'--divide "$((JOB_COMPLETION_INDEX + 1))/{spec["completions"]}"' in run["args"][0]
    assert pod["terminationGracePeriodSeconds"] > RunSection().grace_s
    assert {one["name"] for one in run["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_the_job_of_kuberay_has_its_files_its_credentials_and_a_gpu_for_each_worker(tmp_path: Path) -> None:
    config, ray = YAML(typ="safe").load_all(DOCKER / "kubernetes" / "ray.yaml")
    assert (ray["apiVersion"], ray["kind"]) == ("ray.io/v1", "RayJob")
    cluster = ray["spec"]["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    (driver,), (worker,) = (one["template"]["spec"]["containers"] for one in (head, group))
    assert driver["image"] == worker["image"]
    assert driver["envFrom"] == worker["envFrom"]
    volumes = {one["name"]: one for one in head["template"]["spec"]["volumes"]}
    assert volumes["jobs"]["configMap"]["name"] == config["metadata"]["name"]
    assert {one["name"] for one in driver["volumeMounts"]} == set(volumes)
    program, name, *arguments = ray["spec"]["entrypoint"].split()
    assert program in PROJECT["scripts"]
    file = commands.commands[name].make_context(name, arguments).params["job"]
    (text,) = config["data"].values()
    assert str(file) in [f"/jobs/{key}" for key in config["data"]]
    (tmp_path / "job.yaml").write_text(text)
    tiny = write_tiny(tmp_path / "tiny.onnx")
    loaded = job.load(tmp_path / "job.yaml", [f"infer.model={tiny}"]).job
    assert isinstance(loaded.output, Objects)
    assert loaded.run.executor == "ray"
    gpus = loaded.run.ray.gpus(loaded.infer.devices)
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == gpus == 1


def test_a_node_of_kuberay_is_made_of_the_image_that_is_built_before_and_is_no_root() -> None:
    file = DOCKER / "kubernetes" / "Dockerfile.ray"
    builds = [line for line in file.read_text().splitlines() if line.startswith("#   ") and "--tag" in line]
    base, node = (re.findall(r"--tag (\S+)", line)[0] for line in builds)
    assert default(file, "BASE") == base
    assert node in (DOCKER / "kubernetes" / "ray.yaml").read_text()
    assert last(file, "USER") == last(DOCKERFILES[1], "USER")
    assert all("--no-cache-dir" in rest for name, rest in instructions(file) if "pip install" in rest)
