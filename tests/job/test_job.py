"""Job files: checked in full before anything starts, relative to themselves, and known to editors."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ImageFont
from ruamel.yaml import YAML

from resnet_pipe.errors import DocumentError, ExitCode
from resnet_pipe.job import job as jobs
from resnet_pipe.job.job import Job, json_schema
from resnet_pipe.job.run_section import RunSection
from resnet_pipe.run.observe.run_folder import save_job

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "jobs").glob("*.yaml"))

MINIMAL = """\
name: small
reader: {kind: images, path: images}
infer: {model: net.onnx}
writer: {kind: parquet, path: out}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that the minimal job names."""
    (tmp_path / "images").mkdir()
    (tmp_path / "net.onnx").touch()
    return tmp_path


def load(folder: Path, text: str = MINIMAL, *overrides: str) -> Job:
    (folder / "job.yaml").write_text(text)
    return jobs.load(folder / "job.yaml", overrides, "--set")[0]


def problems(folder: Path, text: str = MINIMAL, *overrides: str) -> list[str]:
    """Return what is wrong with a job, without the folder in its paths."""
    with pytest.raises(DocumentError) as caught:
        load(folder, text, *overrides)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_everything_wrong_with_a_job_is_said_at_once_each_with_its_place(folder: Path) -> None:
    text = """\
name: 7
raeder: {kind: images, path: images}
reader:
  kind: images
  path: [images, nowhere, "nothing/*.jpg"]
  timeout_s: 0
preprocess: {crop: no, mean: [0.5, 0.5], std: [0.2, 0, .inf]}
infer: {model: resnet50.onnx, engine: tensorrt, device: gpu, batchsize: 32}
writer: {kind: csv, path: net.onnx, fields: [features]}
run:
  workers: 0
  max_failures: 5 percent
  metrics: nowhere/x.prom
"""
    assert problems(folder, text) == [
        "job.yaml:1:1: name: input should be a valid string",
        "job.yaml:2:1: unknown key 'raeder'; did you mean 'reader'?",
        "job.yaml:5:18: reader.path.1: no such file or directory: nowhere",
        "job.yaml:5:27: reader.path.2: no such file or directory: nothing",
        "job.yaml:6:3: reader.timeout_s: input should be greater than 0",
        "job.yaml:7:14: preprocess.crop: expected pixels, or [height, width]; each from 1 to 8192",
        "job.yaml:7:24: preprocess.mean: list should have at least 3 items after validation, not 2",
        "job.yaml:7:53: preprocess.std.1: input should be greater than 0",
        "job.yaml:7:56: preprocess.std.2: input should be a finite number",
        "job.yaml:8:9: infer.model: no such model: resnet50.onnx; make it with: resnet-pipe convert resnet50",
        "job.yaml:8:31: infer.engine: unknown engine 'tensorrt';"
        " known: opencv, openvino, onnxruntime, torch, mlx, auto",
        "job.yaml:8:49: infer.device: unknown device 'gpu'; known: auto, "
        "cpu, cuda, cuda:N, cuda:all, tensorrt, mps",
        "job.yaml:8:62: unknown key 'infer.batchsize'; did you mean 'batch_size'?",
        "job.yaml:9:21: writer.path: not a directory: net.onnx",
        "job.yaml:9:46: writer.fields.0: input should be 'logits', 'top_k' or 'boxes'",
        "job.yaml:11:3: run.workers: input should be 'auto'; or: input should be greater than or equal to 1",
        "job.yaml:12:3: run.max_failures: input should be a valid integer, unable to parse string as an "
        r"integer; or: string should match pattern '^\d+(\.\d+)?%$'",
        "job.yaml:13:3: run.metrics: no such directory: nowhere",
    ]


def test_an_empty_job_names_every_section_it_needs(folder: Path) -> None:
    assert problems(folder, "{}") == [
        f"job.yaml:1:1: {section} is missing" for section in ("infer", "name", "reader", "writer")
    ]


DEVICES = {
    "[]": "the list is empty: give at least one device, or leave out the key",
    "[cpu, auto]": "auto cannot be in a list: name the devices themselves",
    "[cuda:all]": "cuda:all cannot be in a list: name the devices themselves",
    "[cuda:0, cpu]": "cuda and cpu cannot share a list: their results differ in the last digits, and a row"
    " must not depend on which of them happened to take its batch",
    "[cuda:0, gpu]": "unknown device 'gpu'; known: auto, cpu, cuda, cuda:N, cuda:all, tensorrt, mps",
    "[1]": "unknown device 1; known: auto, cpu, cuda, cuda:N, cuda:all, tensorrt, mps",
    "{cpu: 2}": "unknown device {'cpu': 2}; known: auto, cpu, cuda, cuda:N, cuda:all, tensorrt, mps",
}


@pytest.mark.parametrize("value", DEVICES)
def test_devices_that_cannot_share_a_run_are_refused_by_the_program_and_by_an_editor(
    folder: Path, value: str
) -> None:
    text = MINIMAL.replace("net.onnx}", f"net.onnx, device: {value}}}")
    assert problems(folder, text) == [f"job.yaml:3:26: infer.device: {DEVICES[value]}"]
    given = YAML(typ="safe", pure=True).load(text)
    assert not jsonschema.Draft7Validator(json_schema()).is_valid(given)


def test_a_list_of_one_device_is_that_device(folder: Path) -> None:
    assert load(folder, MINIMAL, "infer.device=[cuda:1]").infer.device == "cuda:1"
    assert load(folder, MINIMAL, "infer.device=[cuda:1, cuda:0]").infer.devices == ("cuda:1", "cuda:0")


@pytest.mark.parametrize("key", ["reader.path", "infer.model", "writer.path", "run.metrics"])
def test_a_path_that_the_disk_refuses_is_a_problem_of_the_job(folder: Path, key: str) -> None:
    name = 300 * "x"
    (problem,) = problems(folder, MINIMAL, f"{key}={name}/y.onnx")
    assert problem.startswith(f"--set {key}: {key}: file name too long: {name}")


SECRET = "pAssw0rd"  # noqa: S105 - of nothing


@pytest.mark.parametrize(
    "value",
    [
        f"json://me:{SECRET}@host/x",
        f"[json://me:{SECRET}@host/x]",
        f"[OPS_CHAT, '{SECRET} x']",
        f"[OPS_CHAT, '{SECRET}\\n']",
        f"[{{json: {SECRET}}}]",
        f"{{{SECRET}: x}}",
        "[1]",
        "null",
    ],
)
def test_an_address_in_a_job_is_refused_and_not_repeated(folder: Path, value: str) -> None:
    text = f"{MINIMAL}run: {{notify: {value}}}\n"
    (problem,) = problems(folder, text)
    assert problem.startswith("job.yaml:5:")
    assert "expected names of environment variables that hold the addresses, such as [OPS_CHAT]" in problem
    assert problems(folder, MINIMAL, f"run.notify={value}") == [
        f"--set run.notify: {problem.partition(' ')[2]}"
    ]
    assert SECRET not in problem
    given = YAML(typ="safe", pure=True).load(text)
    assert not jsonschema.Draft7Validator(json_schema()).is_valid(given)


@pytest.mark.parametrize(
    "override", [f"run.notify=[json://{SECRET}", f"run.notify.x={SECRET}", f"run.notify:json://{SECRET}"]
)
def test_an_override_that_is_malformed_is_not_repeated(folder: Path, override: str) -> None:
    (problem,) = problems(folder, f"{MINIMAL}run: {{notify: [A]}}\n", override)
    assert problem.startswith("--set run.notify")
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[5]", "run.notify_on.0: input should be 0, 1, 2, 3, 4, 11, 130 or 143"),
        ("[true]", "run.notify_on.0: expected an exit code, such as 1"),
        ("['1']", "run.notify_on.0: expected an exit code, such as 1"),
        ("3", "run.notify_on: expected a list: [...]"),
        ("[]", "run.notify_on: expected at least one value"),
    ],
)
def test_only_exit_codes_that_there_are_can_be_told(folder: Path, value: str, expected: str) -> None:
    assert problems(folder, MINIMAL, f"run.notify_on={value}") == [f"--set run.notify_on: {expected}"]


def test_an_override_takes_the_place_of_what_the_file_says(folder: Path) -> None:
    job = load(folder, MINIMAL, "name=on", "infer.batch_size=7", "writer={kind: csv, path: csv}")
    assert (job.name, job.infer.batch_size, job.writer[0].kind) == ("on", 7, "csv")
    assert job.output == folder / "csv"


def test_relative_paths_start_at_the_job_file_and_not_at_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "jobs").mkdir()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (folder / "jobs" / "job.yaml").write_text(
        "name: small\n"
        "reader: {kind: images, path: [../images, ../net.onnx]}\n"
        "infer: {model: ../net.onnx}\n"
        "writer: {kind: jsonl, path: ../out}\n"
        "run: {metrics: ../x.prom}\n"
    )
    job = jobs.load(Path("../jobs/job.yaml"), ["reader.path=../images"])[0]
    assert job.reader.path == [folder / "images"]
    assert job.infer.model == folder / "net.onnx"
    assert job.output == folder / "out"
    assert job.run.metrics is not None
    assert job.run.metrics.parent.samefile(folder)


EVERYWHERE = """\
name: small
reader: {kind: images, path: ['HERE/images', 'HERE/images/*.jpg']}
infer: {model: 'HERE/net.onnx'}
writer: {kind: images, path: 'HERE/out', font: 'HERE/font.ttf'}
run: {metrics: 'HERE/metrics.prom'}
"""


def test_a_home_directory_is_meant_by_a_tilde_wherever_a_job_has_a_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = ImageFont.load_default(10)
    assert isinstance(font, ImageFont.FreeTypeFont)
    (folder / "font.ttf").write_bytes(font.font_bytes)
    (folder / "jobs").mkdir()
    expected = load(folder / "jobs", EVERYWHERE.replace("HERE", str(folder)))
    monkeypatch.setenv("HOME", str(folder))
    assert load(folder / "jobs", EVERYWHERE.replace("HERE", "~")) == expected
    me = pwd.getpwuid(os.getuid())
    assert load(folder, MINIMAL, f"writer.path=~{me.pw_name}/out").output == Path(me.pw_dir).resolve() / "out"
    assert load(folder, MINIMAL, "reader.path=~/images", "writer.path=~//x").output == folder / "x"


def test_a_path_that_only_a_shell_or_windows_knows_is_refused_with_what_to_write(folder: Path) -> None:
    (folder / "font.ttf").touch()
    for here, why in {
        "$HOME/data": "$HOME is not expanded in a job: $HOME/data",
        "/data/${SET}": "${SET} is not expanded in a job: /data/${SET}",
        "$(pwd)": "$(pwd) is not expanded in a job: $(pwd)",
        "%DATA%": "%DATA% is not expanded in a job: %DATA%",
        "https://host/set": "a URL, not a path: https://host/set/",
        "file:///data": "a URL, not a path: file:///data/",
        "C:/data": "a Windows path: C:/data/",
        "d:\\data": "; write where it is mounted, such as /mnt/data; in WSL it is /mnt/d/data/",
        "\\\\server\\share": "a Windows path: \\\\server\\share",
        "~nobody-at-all": "there is no user nobody-at-all; for a file or directory of that name, write ./~",
    }.items():
        said = problems(folder, EVERYWHERE.replace("HERE", here))
        keys = ["reader.path.0", "reader.path.1", "infer.model", "writer.path", "writer.font", "run.metrics"]
        assert [problem.split(": ")[1] for problem in said] == keys
        assert [problem for problem in said if why not in problem] == []
        assert said[0].startswith("job.yaml:2:31: ")


def test_a_tilde_without_a_home_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_user: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    said = problems(folder, MINIMAL, "writer.path=~/out")
    assert said == [
        "--set writer.path: writer.path: ~/out: this user has no home directory; write the full path"
    ]


def test_what_really_has_such_a_name_is_taken(folder: Path) -> None:
    for name in ("$HOME", "${X}", "http:", "C:", "~someone"):
        (folder / name).mkdir()
        start = "./" if name.startswith("~") else ""
        job = load(folder, MINIMAL, f"reader.path={start}{name}/", f"writer.path={start}{name}/sub/out")
        assert job.reader.path == [folder / name]
        assert job.output == folder / name / "sub/out"


@given(st.integers(0, 10**7), st.integers(0, 200), st.integers(0, 99))
@example(10_000, 0, 57)
@example(1, 0, 0)
def test_a_share_of_failures_is_exact_and_rounded_down(planned: int, whole: int, hundredths: int) -> None:
    section = RunSection(max_failures=f"{whole}.{hundredths:02d}%")
    share = Fraction(100 * whole + hundredths, 10_000)
    assert section.failure_limit(planned) <= planned * share < section.failure_limit(planned) + 1


def test_a_number_of_failures_is_that_number_and_without_one_all_may_fail() -> None:
    assert RunSection(max_failures=3).failure_limit(2) == 3
    assert RunSection().failure_limit(12) == 12


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for jobs that hypothesis makes."""
    folder = tmp_path_factory.mktemp("anywhere")
    for name in ("images", "größer", "it's: #1", "net"):
        (folder / name).mkdir()
    (folder / "net.onnx").touch()
    return folder


# Without what YAML takes for line ends and folds, and what its dumper does not escape.
_WORDS = st.text(st.characters(exclude_categories=["Cc", "Cn", "Cs", "Zl", "Zp"]), min_size=1, max_size=50)
_ODD = st.sampled_from(["no", "on", "null", "1", "1e3", "~", "0x1F", "2024-01-01", "- a", "a: b", "#", "{"])
_SIZE = st.integers(1, 8192) | st.lists(st.integers(1, 8192), min_size=2, max_size=2)
_COLOUR = st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3)
_PATH = st.sampled_from(["images", "größer", "it's: #1", ".", "*.jpg", "images/**/*.png"])


def _some(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


def _writer(kind: str, *fields: str) -> st.SearchStrategy[dict[str, Any]]:
    chosen = st.lists(st.sampled_from(fields), min_size=1, max_size=3)
    needed = {"kind": st.just(kind), "path": _ODD | st.sampled_from(["out", "größer", "it's: #1"])}
    return st.fixed_dictionaries(needed, optional={"fields": chosen, "k": st.integers(1, 1000)})


_JOBS = st.fixed_dictionaries(
    {
        "name": _WORDS | _ODD,
        "reader": st.fixed_dictionaries(
            {"kind": st.just("images"), "path": _PATH | st.lists(_PATH, min_size=1)},
            optional={
                "recursive": st.booleans(),
                "accept_truncated": st.booleans(),
                "max_pixels": st.integers(1, 10**12),
                "timeout_s": st.floats(1e-9, 1e9),
                "allow_empty": st.booleans(),
            },
        ),
        "infer": st.fixed_dictionaries(
            {"model": st.just("net.onnx")},
            optional={
                "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:12", "cuda:all", "tensorrt:all"])
                | st.lists(st.sampled_from(["cuda", "cuda:0", "cuda:12"]), min_size=1)
                | st.lists(st.sampled_from(["cpu", "mps"]), min_size=1, max_size=1)
                | st.lists(st.just("cpu"), min_size=1),
                "precision": st.sampled_from(["fp32", "fp16"]),
                "batch_size": st.integers(1, 4096) | st.just("auto"),
            },
        ),
        "writer": _writer("parquet", "features", "logits", "top_k")
        | _writer("jsonl", "features", "logits", "top_k")
        | _writer("csv", "logits", "top_k"),
    },
    optional={
        "preprocess": _some(
            resize=_SIZE,
            crop=_SIZE | st.none(),
            fit=st.sampled_from(["crop", "squash", "pad", None]),
            pad_value=st.integers(0, 255) | st.lists(st.integers(0, 255), min_size=3, max_size=3),
            interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos", "nearest", None]),
            rounding=st.sampled_from(["even", "down", None]),
            rescale=st.floats(1e-6, 1e6) | st.none(),
            mode=st.sampled_from(["exact", "fast"]),
            mean=st.none() | _COLOUR,
            std=_COLOUR,
            color=st.sampled_from(["rgb", "bgr"]),
        ),
        "run": _some(
            workers=st.integers(1, 256) | st.just("auto"),
            chunk_items=st.integers(1, 1_000_000),
            max_failures=st.integers(0, 10**9) | st.sampled_from(["5%", "0.25%", None]),
            max_disappeared=st.integers(0, 10**9) | st.sampled_from(["5%", "0.25%"]),
            grace_s=st.floats(0, allow_nan=False),
            metrics=st.sampled_from(["no.prom", "it's: #1/x.prom"]),
            ping_url=st.just("https://example.org/#a"),
            notify=st.lists(st.sampled_from(["OPS_CHAT", "_1"])),
            notify_on=st.lists(st.sampled_from([int(code) for code in ExitCode]), min_size=1),
        ),
    },
)


@given(_JOBS)
def test_the_job_that_a_run_saves_is_the_job_that_was_run(anywhere: Path, values: dict[str, Any]) -> None:
    job = Job.model_validate(values, context={"base": anywhere})
    save_job(anywhere / "net", job)
    assert jobs.load(anywhere / "net" / "job.yaml")[0] == job


@given(_JOBS)
def test_every_valid_job_is_valid_to_an_editor(values: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(json_schema()).validate(values)


def test_the_schema_is_draft_07_and_all_its_references_lead_somewhere() -> None:
    schema = json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)
    for node in _nodes(schema):
        assert "$defs" not in node
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/definitions/") in schema["definitions"]


def test_every_key_of_a_section_is_described_for_completion() -> None:
    for name, section in json_schema()["definitions"].items():
        for key, value in section["properties"].items():
            assert key == "kind" or value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_example_jobs_are_valid_to_an_editor_and_to_the_program(path: Path, folder: Path) -> None:
    validator = jsonschema.Draft7Validator(json_schema())
    values = YAML(typ="safe", pure=True).load(path.read_text())
    validator.validate(values)
    writers = values["writer"] if isinstance(values["writer"], list) else [values["writer"]]
    for section in (values, values["reader"], values["infer"], *writers):
        section["unknown"] = 1
        assert not validator.is_valid(values)
        del section["unknown"]
    changes = [f"infer.model={folder}/net.onnx"]
    if "storage" not in values["reader"]:  # what is on a disk must be there
        changes.append(f"reader.path={folder}/images")
    jobs.load(path, changes)


def test_the_schema_that_the_example_jobs_point_at_is_the_current_one() -> None:
    for path in EXAMPLES:
        assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    committed = json.loads((ROOT / "jobs" / "schema.json").read_text())
    assert committed == json_schema(), "make it again: resnet-pipe schema > jobs/schema.json"


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _nodes(item)
