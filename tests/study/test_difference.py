"""`resnet-pipe diff`: two directories of real runs, compared row by row."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from resnet_pipe.errors import ExitCode
from resnet_pipe.study import difference, neighbours, stored_rows
from resnet_pipe.study.stored_rows import StoredRows
from resnet_pipe.writer.tables import parquet
from tests.networks import write_int8, write_residual, write_tiny
from tests.run.commands import Result
from tests.run.jobs import Cli, JobFolder, VideoFolder, jpeg, numbered, read_rows

COUNT = 14
ALL = "[features, logits, top_k]"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A job of fourteen images in four chunks that has run. Do not change it: `again` runs it elsewhere."""
    folder = tmp_path_factory.mktemp("base")
    job = JobFolder(folder, write_residual(folder / "residual.onnx"))
    job.add(*numbered(COUNT))
    job.write(fields=ALL, chunk_items=4)
    job.run().expect(0)
    return job


def rerun(base: JobFolder, out: Path, *settings: str, arguments: tuple[str, ...] = ()) -> Path:
    """Run the job of `base` into another directory, which is returned, with some other settings."""
    given = [word for setting in (f"writer.path={out}", *settings) for word in ("--set", setting)]
    base.run(*given, *arguments).expect(0)
    return out


Again = Callable[..., Path]


@pytest.fixture
def again(base: JobFolder, tmp_path: Path) -> Again:
    """As `rerun`, into a directory of a given name."""

    def run(*settings: str, arguments: tuple[str, ...] = (), name: str = "again") -> Path:
        return rerun(base, tmp_path / name, *settings, arguments=arguments)

    return run


@pytest.fixture(scope="module")
def other(base: JobFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of another network, as wide as that of `base`. Do not change them."""
    model = onnx.load(str(base.folder / "residual.onnx"))
    for weights in model.graph.initializer:
        noise = np.random.default_rng(7).normal(size=list(weights.dims)).astype(np.float32)
        changed = numpy_helper.to_array(weights) * (1 + noise / 2)
        weights.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weights.name))
    folder = tmp_path_factory.mktemp("other")
    onnx.save(model, str(folder / "noisy.onnx"))
    out = folder / "out"
    base.run("--set", f"writer.path={out}", "--set", f"infer.model={folder / 'noisy.onnx'}").expect(0)
    return out


def told(result: Result) -> dict[str, Any]:
    """Return what --json has printed."""
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def cosine(one: list[float], other: list[float]) -> float:
    a, b = np.array(one), np.array(other)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def field(out: Path, name: str) -> dict[str, Any]:
    """Return a field of all rows in Parquet, by path."""
    return {row["path"]: row[name] for row in read_rows(out)}


def assert_equal(found: dict[str, Any], rows: int = COUNT) -> None:
    """Check that nothing differs but how the rows were made."""
    assert found["common_rows"] == rows
    assert [found[side]["only_rows"] for side in ("a", "b")] == [0, 0]
    assert (found["similarity"]["mean"], found["similarity"]["min"]) == (1.0, 1.0)
    assert found["similarity"]["worst"] == []
    assert (found["accepted"], found["beyond"]) == (0.0, 0)
    if found["classes"]:
        assert found["classes"]["same_best"] == found["classes"]["shared"] == 1.0
        assert found["classes"]["max_score_difference"] == 0.0


def test_a_directory_does_not_differ_from_itself(base: JobFolder, cli: Cli) -> None:
    found = told(cli("diff", base.out, base.out, "--json", "--max", "0").expect(0))
    assert_equal(found)
    assert found["made_differently"] == {}
    assert found["similarity"]["of"] == "features"
    assert found["neighbours"] == 1.0
    assert found["classes"]["k"] == 3
    table = cli("diff", base.out, base.out).expect(0).stdout
    assert "made with" not in table
    assert "least similar" not in table
    assert table.startswith(f"A: {base.out}, 14 rows\nB: {base.out}, 14 rows\n")


def test_neither_chunks_nor_the_order_of_shards_nor_row_groups_matter(
    base: JobFolder, again: Again, cli: Cli
) -> None:
    chunked = again("run.chunk_items=5", "infer.batch_size=1", name="chunked")
    assert_equal(told(cli("diff", base.out, chunked, "--json", "--max", "0").expect(0)))
    for part in ("1/2", "2/2"):
        divided = again("infer.batch_size=2", arguments=("--divide", part), name="divided")
    with mock.patch.object(parquet, "ROW_GROUP_BYTES", 1):
        grouped = again("run.chunk_items=100", "infer.batch_size=2", name="grouped")
    order = [row["path"] for row in read_rows(divided)]
    assert order != sorted(order)
    for a, b in ((base.out, divided), (divided, grouped), (grouped, divided)):
        assert_equal(told(cli("diff", a, b, "--json", "--max", "0").expect(0)))


def test_another_engine_is_named_and_changes_next_to_nothing(base: JobFolder, again: Again, cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    out = again("infer.engine=onnxruntime")
    found = told(cli("diff", base.out, out, "--json", "--max", "1e-6").expect(0))
    assert found["made_differently"] == {"engine": {"a": "opencv", "b": "onnxruntime"}}
    assert 1 - 1e-6 < found["similarity"]["min"] <= found["similarity"]["mean"] <= 1
    assert found["neighbours"] == 1.0
    assert found["classes"]["same_best"] == 1.0
    assert found["classes"]["max_score_difference"] < 1e-5


def test_another_precision_is_named_and_judged(base: JobFolder, again: Again, cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    model = write_int8(base.folder / "residual.onnx", base.folder / "int8.onnx")
    out = again("infer.engine=onnxruntime", f"infer.model={model}")
    result = cli("diff", base.out, out, "--json", "--max", "1e-6").expect(ExitCode.FAILED)
    assert told(result)["made_differently"]["precision"] == {"a": "fp32", "b": "int8"}
    assert told(result)["similarity"]["min"] < 1 - 1e-6
    cli("diff", base.out, out, "--max", "0.1").expect(0)


def test_another_network_of_the_same_width(base: JobFolder, other: Path, cli: Cli) -> None:
    found = told(cli("diff", base.out, other, "--json").expect(0))
    a, b = field(base.out, "features"), field(other, "features")
    expected = {path: cosine(a[path], b[path]) for path in a}
    similarity = found["similarity"]
    assert similarity["mean"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert similarity["min"] == pytest.approx(min(expected.values()), abs=1e-12)
    worst = sorted(expected, key=lambda path: expected[path])[: difference.NAMED]
    assert [key for key, _ in similarity["worst"]] == [[path, None] for path in worst]
    assert [each for _, each in similarity["worst"]] == pytest.approx([expected[path] for path in worst])
    assert found["neighbours"] == pytest.approx(overlap(list(a.values()), list(b.values())))
    assert found["neighbours"] < 1
    assert set(found["made_differently"]) == {"model", "model_sha256"}
    assert found["made_differently"]["model"] == {"a": "tiny", "b": "noisy"}
    assert found["exit_code"] == 0


def overlap(a: list[list[float]], b: list[list[float]]) -> float:
    """Return the mean share of the ten nearest neighbours, one row and one neighbour at a time."""
    shares = []
    for row in range(len(a)):
        others = [at for at in range(len(a)) if at != row]
        one, two = (set(sorted(others, key=lambda at: -cosine(side[row], side[at]))[:10]) for side in (a, b))
        shares.append(len(one & two) / 10)
    return float(np.mean(shares))


def test_classes_are_compared_by_their_best_their_set_and_their_score(
    base: JobFolder, other: Path, cli: Cli
) -> None:
    found = told(cli("diff", base.out, other, "--json").expect(0))["classes"]
    a, b = field(base.out, "top_k"), field(other, "top_k")
    classes = {path: ([e["index"] for e in a[path]], [e["index"] for e in b[path]]) for path in a}
    assert found["same_best"] == np.mean([one[0] == two[0] for one, two in classes.values()])
    assert found["shared"] == pytest.approx(np.mean([len({*x} & {*y}) / 3 for x, y in classes.values()]))
    differences = [
        abs(a[path][0]["score"] - entry["score"])
        for path in a
        for entry in b[path]
        if entry["index"] == a[path][0]["index"]
    ]
    assert found["max_score_difference"] == pytest.approx(max(differences))
    assert 0 < found["shared"] < 1


def test_features_of_another_width_have_neighbours_but_no_cosine(
    base: JobFolder, again: Again, cli: Cli
) -> None:
    tiny = write_tiny(base.folder / "narrow.onnx")
    narrow = again(f"infer.model={tiny}")
    result = cli("diff", base.out, narrow, "--json").expect(0)
    found = told(result)
    assert found["notes"] == ["features are 16 wide in A and 3 in B: they have no cosine similarity"]
    assert found["similarity"]["of"] == "logits"
    a, b = field(base.out, "features"), field(narrow, "features")
    assert found["neighbours"] == pytest.approx(overlap(list(a.values()), list(b.values())))
    assert "note: features are 16 wide in A and 3 in B" in cli("diff", base.out, narrow).expect(0).stdout
    only = "writer.fields=[features]"
    wide, narrow = again(only, name="w"), again(only, f"infer.model={tiny}", name="n")
    found = told(cli("diff", wide, narrow, "--json").expect(0))
    assert (found["similarity"], found["classes"], found["beyond"]) == (None, None, None)
    assert found["neighbours"] is not None
    assert "no row can be judged" in cli("diff", wide, narrow, "--max", "1").expect(ExitCode.USAGE).stderr


def test_other_preprocessing_is_named_key_by_key(base: JobFolder, again: Again, cli: Cli) -> None:
    out = again("preprocess.resize=48", "preprocess.mode=fast")
    result = cli("diff", base.out, out).expect(0)
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("preprocessing.")]
    assert rows == [["preprocessing.resize", "36", "48"], ["preprocessing.mode", "exact", "fast"]]
    assert "engine" not in result.stdout


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_text_has_the_numbers_of_parquet_in_shards_of_any_size(
    base: JobFolder, again: Again, cli: Cli, kind: str
) -> None:
    fields = "[logits, top_k]" if kind == "csv" else ALL
    out = again(f"writer.kind={kind}", f"writer.fields={fields}", "run.chunk_items=9")
    with mock.patch.object(parquet, "ROW_GROUP_BYTES", 1):
        numbers = again("writer.fields=[logits, top_k]", "run.chunk_items=7", name="numbers")
    for a, b in ((numbers, out), (out, numbers), (out, out)):
        found = told(cli("diff", a, b, "--json", "--max", "0").expect(0))
        assert_equal(found)
        assert found["similarity"]["of"] == ("features" if a == b and kind == "jsonl" else "logits")
    if kind == "jsonl":
        assert_equal(told(cli("diff", base.out, out, "--json", "--max", "0").expect(0)))
    made = told(cli("diff", base.out, out, "--json"))["made_differently"]
    assert made["engine"] == {"a": "opencv", "b": None}
    assert not made.keys() & {"precision", "model_sha256", "preprocessing.crop", "preprocessing.mean"}
    lines = cli("diff", base.out, out).stdout.split("\n")
    assert ["engine", "opencv", "unknown"] in [line.split() for line in lines]
    at = lines.index("weights")
    assert lines[at + 1 : at + 3] == ["  A  weights unknown: the model has no sidecar", "  B  unknown"]


def test_sources_on_one_side_are_counted_named_and_refused_by_max(
    base: JobFolder, again: Again, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "some").mkdir()
    for name in numbered(COUNT)[6:]:
        shutil.copy(base.images / name, tmp_path / "some")
    (tmp_path / "some" / "new.jpg").write_bytes(jpeg(99))
    some = again(f"reader.path={tmp_path / 'some'}")
    found = told(cli("diff", base.out, some, "--json").expect(0))
    assert found["common_rows"] == 8
    assert (found["a"]["rows"], found["a"]["only_rows"]) == (14, 6)
    assert (found["b"]["rows"], found["b"]["only_rows"]) == (9, 1)
    assert found["a"]["first"] == [[name, None] for name in numbered(COUNT)[:5]]
    assert found["b"]["first"] == [["new.jpg", None]]
    assert found["neighbours"] is None
    assert found["notes"] == ["neighbours are skipped: it takes 12 common rows"]
    for one, two in ((base.out, some), (some, base.out)):
        result = cli("diff", one, two, "--max", "2").expect(ExitCode.FAILED)
        assert result.stdout.endswith("--max 2: FAIL, 7 rows on one side only\n")
    table = cli("diff", base.out, some).expect(0).stdout
    first = "\n  0000.jpg\n  0001.jpg\n  0002.jpg\n  0003.jpg\n  0004.jpg\n  and 1 more\n"
    assert f"only in A: 6 rows{first}" in table
    assert "only in B: 1 row\n  new.jpg\n" in table
    assert "note: neighbours are skipped: it takes 12 common rows\n" in table


def test_frames_of_videos_are_compared_with_the_same_frames(film: VideoFolder, cli: Cli) -> None:
    film.add_video("a.mkv", 12)
    film.add_video("b.mkv", 12, shift=100)
    film.run().expect(0)
    every = film.folder / "every"
    film.run("--set", "reader.every=3", "--set", f"writer.path={every}").expect(0)
    found = told(cli("diff", film.out, every, "--json").expect(0))
    assert found["common_rows"] == 8
    assert found["similarity"]["min"] == 1.0
    assert (found["a"]["rows"], found["a"]["only_rows"]) == (24, 16)
    assert found["a"]["first"] == [["a.mkv", frame] for frame in (1, 2, 4, 5, 7)]
    assert found["b"]["only_rows"] == 0
    assert "only in A: 16 rows\n  a.mkv, frame 1\n  a.mkv, frame 2\n" in cli("diff", film.out, every).stdout
    mean = film.folder / "mean"
    film.run("--set", "writer.aggregate=mean", "--set", f"writer.path={mean}").expect(0)
    refused = cli("diff", film.out, mean).expect(ExitCode.USAGE)
    assert "A has 24 rows, such as a.mkv, frame 0; B has 2 rows, such as a.mkv\n" in refused.stderr
    assert "what to do: compare results of the same sources" in refused.stderr


def test_max_judges_logits_without_features_and_classes_without_both(
    base: JobFolder, other: Path, again: Again, cli: Cli
) -> None:
    model = f"infer.model={other.parent / 'noisy.onnx'}"
    for fields, of, largest in (("logits", "logits", None), ("top_k", None, 1.0)):
        field_ = f"writer.fields=[{fields}]"
        a, b = again(field_, name=f"{fields}-a"), again(field_, model, name=f"{fields}-b")
        found = told(cli("diff", a, b, "--json", "--max", "1e-9").expect(ExitCode.FAILED))
        assert (found["similarity"] or {"of": None})["of"] == of
        assert found["beyond"] > 0
        assert found["neighbours"] is None
        if largest is None:
            largest = 1 - found["similarity"]["min"]
        else:
            apart = round(COUNT * (1 - found["classes"]["same_best"]))
            assert found["beyond"] == apart
        cli("diff", a, b, "--max", repr(largest)).expect(0)
        cli("diff", a, b).expect(0)


@pytest.mark.parametrize("fields", ["[features, logits, top_k]", "[features, logits]", "[features, top_k]"])
def test_max_judges_the_classifier_where_the_features_are_the_same(
    base: JobFolder, again: Again, cli: Cli, tmp_path: Path, fields: str
) -> None:
    model = onnx.load(str(base.folder / "residual.onnx"))
    (weights,) = (one for one in model.graph.initializer if one.name == "weight")
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), "weight"))
    onnx.save(model, str(tmp_path / "replaced.onnx"))
    field_ = f"writer.fields={fields}"
    one, two = again(field_, name="one"), again(field_, f"infer.model={tmp_path}/replaced.onnx", name="two")
    found = told(cli("diff", one, two, "--json", "--max", "0").expect(ExitCode.FAILED))
    assert (found["similarity"]["of"], found["similarity"]["min"]) == ("features", 1.0)
    assert found["beyond"] > 0
    if "logits" in fields:
        a, b = field(one, "logits"), field(two, "logits")
        assert found["logits_min"] == pytest.approx(min(cosine(a[path], b[path]) for path in a))
        smallest = f"logits    cosine similarity, smallest                  {found['logits_min']:.3f}"
        assert smallest[:-2] in cli("diff", one, two).expect(0).stdout
    assert_equal(told(cli("diff", one, one, "--json", "--max", "0").expect(0)))


def test_the_table_says_what_json_says(base: JobFolder, other: Path, cli: Cli) -> None:
    found = told(cli("diff", base.out, other, "--json", "--max", "1e-3").expect(ExitCode.FAILED))
    lines = cli("diff", base.out, other, "--max", "1e-3").expect(ExitCode.FAILED).stdout.splitlines()
    assert found["exit_code"] == ExitCode.FAILED
    assert lines[2] == "compared: 14 rows that both have"

    def value(start: str) -> str:
        (line,) = (line for line in lines if line.startswith(start))
        return line.removeprefix(start).split()[0]

    similarity, classes = found["similarity"], found["classes"]
    assert float(value("features  cosine similarity, smallest")) == pytest.approx(similarity["min"], abs=2e-7)
    assert float(value("          mean")) == pytest.approx(similarity["mean"], abs=2e-7)
    assert value("features  10 nearest neighbours shared") == f"{found['neighbours']:.1%}"
    assert value("top_k     same best class") == f"{classes['same_best']:.1%}"
    assert value("          best 3 classes shared") == f"{classes['shared']:.1%}"
    score = "          score of the best class, largest difference"
    assert float(value(score)) == pytest.approx(classes["max_score_difference"], rel=0.05)
    assert value("model                       tiny") == "noisy"
    at = next(number for number, line in enumerate(lines) if line.startswith("cosine     1 - cosine"))
    rows = [line.split() for line in lines[at + 1 : at + 1 + len(similarity["worst"])]]
    assert [row[2] for row in rows] == [path for (path, _), _ in similarity["worst"]]
    assert [float(row[1]) for row in rows] == pytest.approx(
        [1 - each for _, each in similarity["worst"]], rel=0.05
    )
    assert lines[-1] == f"--max 0.001: FAIL, {found['beyond']} rows beyond it"


HOSTILE = [b"two\nlines.jpg", b"\r.jpg", b"\x1b[31m.jpg", b"\xff\xc3.jpg", b"=1+1.jpg", b"'=2.jpg"]
LIKE_VALUES = ["2020-01-01", "12", "true", "null"]
"""Names from which nobody may tell that they are dates, numbers or nothing."""


def test_any_name_is_compared_in_every_format_and_shown_on_one_line(tmp_path: Path, cli: Cli) -> None:
    job = JobFolder(tmp_path, write_tiny(tmp_path / "tiny.onnx"))
    job.add("plain.jpg", *LIKE_VALUES)
    for name in HOSTILE:
        (job.images / os.fsdecode(name)).write_bytes(jpeg(len(name)))
    named = ", ".join(f"'{job.images / name}'" for name in LIKE_VALUES)
    outs = {kind: job.folder / kind for kind in ("parquet", "jsonl", "csv")}
    for kind, out in outs.items():
        job.write(writer=f"{{kind: {kind}, path: {out}, fields: [logits]}}", chunk_items=1)
        job.run("--set", f"reader.path=['{job.images}', {named}]").expect(0)
    for a, b in permutations(outs.values(), 2):
        found = told(cli("diff", a, b, "--json", "--max", "0").expect(0))
        assert_equal(found, len(HOSTILE) + len(LIKE_VALUES) + 1)
    (job.images / os.fsdecode(HOSTILE[0])).unlink()
    few = job.folder / "few"
    job.run("--set", f"writer.path={few}", "--set", f"reader.path=['{job.images}', {named}]").expect(0)
    for out in outs.values():
        lines = cli("diff", out, few).expect(0).stdout.split("\n")
        assert lines[lines.index("only in A: 1 row") + 1] == "  two\\x0alines.jpg"
    job.run(
        "--set", f"writer.path={few}", "--set", f"reader.path='{job.images}/plain.jpg'", "--fresh"
    ).expect(0)
    named = "\n  \\x0d.jpg\n  \\x1b[31m.jpg\n  '=2.jpg\n  12\n  2020-01-01\n  and 5 more\n"
    only = f"only in B: 10 rows{named}"
    assert only in cli("diff", few, outs["csv"]).expect(0).stdout


def test_what_no_record_names_is_not_read(base: JobFolder, again: Again, cli: Cli) -> None:
    out = again("run.chunk_items=100")
    shutil.copy(next(base.out.glob("part-*.parquet")), out / "part-000009.parquet")
    (out / "part-000010.parquet").write_bytes(b"of somebody else")
    assert_equal(told(cli("diff", base.out, out, "--json", "--max", "0").expect(0)))


def test_rows_that_are_equally_near_are_shared_and_features_that_are_all_equal_are_not() -> None:
    rng = np.random.default_rng(0)

    def noisy(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features * (1 + 1e-7 * rng.normal(size=features.shape))).astype(np.float32)

    groups = np.repeat(rng.normal(size=(4, 8)), 20, axis=0).astype(np.float32)
    assert neighbours.shared(noisy(groups), noisy(groups)) == 1.0
    features = rng.normal(size=(80, 8)).astype(np.float32)
    assert neighbours.shared(features, np.ones((80, 3), np.float32)) < 0.3


def test_neighbours_are_those_among_a_sample_that_is_spread_and_always_the_same(
    base: JobFolder, other: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "MOST", 13)
    found = [told(cli("diff", base.out, other, "--json").expect(0))["neighbours"] for _ in range(2)]
    assert found[0] == found[1]
    assert "% of 13 rows\n" in cli("diff", base.out, other).expect(0).stdout
    rows = neighbours.sample(1000)
    assert (np.diff(rows) > 0).all()
    assert [row * 13 // 1000 for row in rows] == list(range(13))
    a, b = (list(field(out, "features").values()) for out in (base.out, other))
    sample = neighbours.sample(COUNT)
    assert found[0] == pytest.approx(overlap([a[at] for at in sample], [b[at] for at in sample]))


@pytest.fixture(scope="module")
def strange(base: JobFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories that cannot be compared with others, by what is wrong with them. Do not change them."""
    folder = tmp_path_factory.mktemp("strange")
    (folder / "images").mkdir()
    (folder / "images" / "x.jpg").write_bytes(jpeg(1))
    (folder / "bad.jpg").write_bytes(b"not an image")
    rowless = folder / "rowless"
    base.run("--set", f"writer.path={rowless}", "--set", f"reader.path={folder / 'bad.jpg'}").expect(3)
    logits, features = "writer.fields=[logits]", "writer.fields=[features]"
    return {
        "arrays": rerun(base, folder / "arrays", f"writer={{kind: npy, path: {folder / 'arrays'}}}"),
        "others": rerun(base, folder / "others", f"reader.path={folder / 'images'}"),
        "logits": rerun(base, folder / "logits", logits),
        "features": rerun(base, folder / "features", features),
        "rowless": rowless,
        "file": base.file,
        "nowhere": folder / "nowhere",
        "empty": folder / "images",
    }


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("features", "nowhere", "nowhere does not exist\n"),
        ("empty", "features", "give the writer.path of a job that has run"),
        ("file", "features", "is not a directory\n"),
        ("arrays", "features", "with a writer of kind parquet, jsonl or csv"),
        ("features", "logits", "no field can be compared: A has features, and B has logits"),
        ("rowless", "features", "A has 0 rows; B has 14 rows, such as 0000.jpg"),
        ("features", "rowless", "A has 14 rows, such as 0000.jpg; B has 0 rows"),
        ("features", "others", "A has 14 rows, such as 0000.jpg; B has 1 row, such as x.jpg"),
    ],
)
def test_what_cannot_be_compared_ends_with_code_2_and_what_to_do(
    strange: dict[str, Path], cli: Cli, a: str, b: str, said: str
) -> None:
    result = cli("diff", strange[a], strange[b]).expect(ExitCode.USAGE)
    assert said in result.stderr
    assert "what to do: " in result.stderr
    assert result.stdout == ""


def test_a_shard_that_a_run_replaces_meanwhile_is_an_error(
    again: Again, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = again()
    shard = sorted(out.glob("part-*"))[1]
    match = stored_rows.matches

    def match_and_replace(ours: StoredRows, theirs: StoredRows) -> NDArray[np.int64]:
        found = match(ours, theirs)
        shutil.copy(shard, out / "copy")
        (out / "copy").replace(shard)
        return found

    monkeypatch.setattr(stored_rows, "matches", match_and_replace)
    result = cli("diff", out, out).expect(ExitCode.FAILED)
    assert f"error: {out} has been changed meanwhile\n  what to do: wait until no run" in result.stderr


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much"])
def test_a_largest_difference_is_a_number_from_0(base: JobFolder, cli: Cli, value: str) -> None:
    assert "'--max'" in cli("diff", base.out, base.out, "--max", value).expect(ExitCode.USAGE).stderr


def test_a_damaged_shard_is_an_error_that_names_it(base: JobFolder, again: Again, cli: Cli) -> None:
    out = again()
    shard = sorted(out.glob("part-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-200])
    result = cli("diff", base.out, out).expect(ExitCode.FAILED)
    assert f"error: {shard} cannot be read: " in result.stderr
    assert f"what to do: resnet-pipe check {out} tells" in result.stderr
