"""A job that would read what it writes is refused while it is checked; one that cannot is not."""

from __future__ import annotations

import pytest

from tests.run.jobs import HOME, Cli, JobFolder, VideoFolder, records, states

IMAGES = "{kind: images, path: %s}"
DRAWN = "{kind: images, path: images/out}"
"""A writer of annotated images below `images/`."""


def layout(job: JobFolder, reader: str, writer: str, run: str = "") -> None:
    """Describe a job among a few folders and links."""
    job.add("a.jpg", "cam1/b.jpg", "raw.png/c.jpg")
    (job.folder / "link").symlink_to("images")
    (job.images / "away").mkdir()
    (job.folder / "elsewhere").symlink_to("images/away")
    (job.images / "out" / "images" / "old").mkdir(parents=True)
    (job.images / "out" / "failures.jsonl").touch()
    job.write(writer=writer, run=run)
    job.file.write_text(job.file.read_text().replace("path: images}", f"path: {reader}}}", 1))


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        ("images", DRAWN),
        ("images", "{kind: images, path: images}"),
        (".", "{kind: images, path: out}"),
        ("[images/cam1, images]", DRAWN),
        ("images/**", DRAWN),
        ("'images/**/*.jpg'", DRAWN),
        ("'images/*/*/*.[jJ]p?'", DRAWN),
        ("'images/*'", DRAWN),
        ("'images/_*/**/*.jpg'", "{kind: images, path: images}"),
        ("images/out/images", DRAWN),
        ("images/out/images/old", DRAWN),
        ("link", DRAWN),
        ("'link/**'", DRAWN),
        ("images", "{kind: images, path: link/out}"),
        ("images", "{kind: images, path: elsewhere}"),
        ("elsewhere", "{kind: images, path: images/away}"),
        ("images", "[{kind: parquet, path: images/out}, {kind: images}]"),
    ],
)
def test_images_drawn_where_they_would_be_sources_are_refused_with_the_line(
    cli: Cli, job: JobFolder, reader: str, writer: str
) -> None:
    layout(job, reader, writer)
    before = sorted(job.folder.rglob("*"))
    said = cli("run", str(job.file)).expect(2).stderr
    assert f"{job.file}:5:" in said
    assert ("writer.1.path" if "[" in writer else "writer.path") in said
    assert "the next run would read what this one writes into" in said
    assert "a writer.path outside it, or a reader.path that excludes it" in said
    assert sorted(job.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        *(("images", f"{{kind: {kind}, path: images/out}}") for kind in ("parquet", "csv", "jsonl", "npy")),
        ("images", "{kind: npy, path: images/out, layout: matrix}"),
        ("images, recursive: false", DRAWN),
        ("'images/*', recursive: false", "{kind: images, path: images/out/deeper}"),
        ("'images/*.jpg'", DRAWN),
        ("'images/*/*.jpg'", "{kind: images, path: images/x/y}"),
        ("'images/cam*/**'", DRAWN),
        ("'images/**/*.png'", DRAWN),
        ("'images/**/*.[pP][nN][gG]'", DRAWN),
        ("images", "{kind: images, path: images/.out}"),
        ("images", "{kind: images, path: images-out}"),
        ("images/a.jpg", DRAWN),
        ("images/cam1", "{kind: images, path: images}"),
        ("images/out/images", "{kind: parquet, path: images/out}"),
    ],
)
def test_what_the_reader_cannot_take_may_be_written_below_its_root(
    cli: Cli, job: JobFolder, reader: str, writer: str
) -> None:
    layout(job, reader, writer)
    cli("run", str(job.file), "--dry-run", "--set", "reader.allow_empty=true").expect(0)


@pytest.mark.parametrize(("kind", "code"), [("video", 2), ("images", 0), ("npy", 0), ("parquet", 0)])
def test_videos_drawn_where_they_would_be_sources_are_refused(
    cli: Cli, film: VideoFolder, kind: str, code: int
) -> None:
    film.describe(writer=f"{{kind: {kind}, path: videos/out}}", reader="allow_empty: true")
    cli("run", str(film.file), "--dry-run").expect(code)


@pytest.mark.parametrize(
    ("reader", "writer", "metrics", "place"),
    [
        ("images", "{kind: parquet, path: out}", "images/cam1/metrics.JPG", "6:50: run.metrics"),
        ("[images/cam1, images/a.jpg]", "{kind: parquet, path: out}", "link/a.jpg", "6:50: run.metrics"),
        ("images/out/failures.jsonl", "{kind: parquet, path: images/out}", "x.prom", "2:24: reader.path:"),
        ("[images/cam1, link/out/images/x]", DRAWN, "x.prom", "2:44: reader.path.1"),
    ],
)
def test_single_files_that_a_run_writes_are_no_sources(
    cli: Cli, job: JobFolder, reader: str, writer: str, metrics: str, place: str
) -> None:
    layout(job, reader, writer, f"metrics: {metrics}")
    (job.images / "out" / "images" / "x").touch()
    said = cli("run", str(job.file), "--dry-run").expect(2).stderr
    assert f"{job.file}:{place}" in said
    if "run.metrics" in place:
        cli("run", str(job.file), "--dry-run", "--set", "run.metrics=images/metrics.prom").expect(0)


def test_a_link_among_the_images_that_leads_to_the_results_is_refused_before_anything_changes(
    job: JobFolder,
) -> None:
    job.write(writer="{kind: images, path: out}")
    job.add("a.jpg", "b.jpg")
    (job.images / "results").symlink_to("../out")
    job.run().expect(0)
    drawn = sorted(path for path in job.out.rglob("*.jpg") if HOME not in path.parts)
    assert [path.name for path in drawn] == ["a.jpg.jpg", "b.jpg.jpg"]
    before, ledger = states(job.out), records(job.out)
    for arguments in ((), ("--fresh",), ("--dry-run",)):
        said = job.run(*arguments).expect(2).stderr
        assert f"{job.images}/results/images leads to this job's own results" in said
        assert "a reader.path that excludes it" in said
    assert states(job.out) == before
    assert records(job.out) == ledger
    assert all(path.is_file() for path in drawn)
