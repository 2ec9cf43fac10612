"""How others notice that a run has failed, or has not happened: metrics and pings."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.run.jobs import JobFolder, numbered

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "unattended.md").read_text()

Samples = dict[tuple[str, str], float]


def read_metrics(path: Path) -> Samples:
    """Return the value of each sample by name and labels; check the text exposition format.

    The format: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    samples: Samples = {}
    described: list[str] = []
    text = path.read_bytes().decode()  # in a name, there may be other ends of lines
    assert text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if help_ := re.fullmatch(r"# HELP ([a-z_]+) \S.*", line):
            assert help_[1] not in described
            described.append(help_[1])
        elif kind := re.fullmatch(r"# TYPE ([a-z_]+) gauge", line):
            assert kind[1] == described[-1]
        else:
            label = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
            sample = re.fullmatch(rf"([a-z_]+)\{{({label}(?:,{label})*)\}} (\S+)", line)
            assert sample, line
            assert sample[1] == described[-1]
            assert (sample[1], sample[2]) not in samples
            samples[sample[1], sample[2]] = float(sample[3])
    return samples


SUCCESS, LAST = "resnet_pipe_last_success_timestamp_seconds", "resnet_pipe_last_run_timestamp_seconds"
NIGHTLY = 'job="nightly"'


def test_metrics_are_valid_documented_and_readable_by_all_whatever_the_umask(job: JobFolder) -> None:
    text = job.file.read_text().replace("name: nightly", r'name: "a \"quoted\" \\ name\n}"')
    job.file.write_text(text)
    job.add(*numbered(3))
    job.add_bad("bad.jpg")
    job.run(faults="import os; os.umask(0o077)").expect(3)
    metrics = job.out / "metrics.prom"
    assert metrics.stat().st_mode & 0o777 == 0o644
    samples, label = read_metrics(metrics), r'job="a \"quoted\" \\ name\n}"'
    figures = {name: value for (name, labels), value in samples.items() if labels == label}
    run = job.summary()
    assert figures["resnet_pipe_items"] == figures["resnet_pipe_sources_done"] == 3
    assert figures["resnet_pipe_sources_failed"] == 1
    assert figures["resnet_pipe_exit_code"] == 3
    assert figures["resnet_pipe_duration_seconds"] == pytest.approx(run["seconds"], abs=5)
    assert figures[SUCCESS] == figures[LAST]
    for stage in ("reader", "preprocess", "infer", "writer"):
        busy = samples["resnet_pipe_stage_seconds", f'{label},stage="{stage}"']
        assert busy == run["stages"][stage]["busy_s"]
    assert all(f"`{name}`" in DOCUMENTED for name, _ in samples)


def test_the_time_of_the_last_success_outlives_runs_that_fail(done: JobFolder) -> None:
    first, text = read_metrics(done.out / "metrics.prom"), (done.out / "metrics.prom").read_text()
    with (done.out / "metrics.prom").open() as reading:  # whoever reads it meanwhile sees all of the old one
        for path in list(done.images.iterdir()):
            path.rename(done.folder / path.name)
        for _ in range(2):
            done.run().expect(1)
        assert reading.read() == text
    failed = read_metrics(done.out / "metrics.prom")
    assert failed["resnet_pipe_exit_code", NIGHTLY] == 1
    assert failed[SUCCESS, NIGHTLY] == first[SUCCESS, NIGHTLY] < failed[LAST, NIGHTLY]
    (done.folder / "0000.jpg").rename(done.images / "0000.jpg")
    done.run().expect(0)
    assert read_metrics(done.out / "metrics.prom")[SUCCESS, NIGHTLY] > failed[LAST, NIGHTLY]


def test_a_job_that_never_succeeded_has_no_time_of_success(job: JobFolder) -> None:
    job.run().expect(1)
    names = {name for name, _ in read_metrics(job.out / "metrics.prom")}
    assert SUCCESS not in names
    assert LAST in names


def test_metrics_go_where_the_job_says_and_those_of_divisions_do_not_collide(job: JobFolder) -> None:
    (job.folder / "collector").mkdir()
    job.write(run="metrics: collector/nightly.prom")
    job.add(*numbered(6))
    job.run().expect(0)
    for division in ("1/2", "2/2"):
        job.run("--divide", division).expect(0)
    files = sorted((job.folder / "collector").iterdir())
    assert [path.name for path in files] == ["nightly-1of2.prom", "nightly-2of2.prom", "nightly.prom"]
    assert not list(job.out.glob("*.prom"))
    samples = [sample for path in files for sample in read_metrics(path)]
    assert len(samples) == len(set(samples))


def test_metrics_of_divisions_that_nobody_runs_any_more_go(job: JobFolder) -> None:
    job.add(*numbered(6))
    job.add_bad("0006.jpg", "0007.jpg")
    for division in ("1/2", "2/2", "1/1"):
        assert job.run("--divide", division).code in (0, 3)
    assert [path.name for path in job.out.glob("*.prom")] == ["metrics-1of1.prom"]
    job.add("0006.jpg", "0007.jpg")
    job.run().expect(0)
    (file,) = job.out.glob("*.prom")
    assert {value for (name, _), value in read_metrics(file).items() if "standing" in name} == {0}


def test_a_place_for_metrics_that_is_none_is_refused_and_left_as_it_is(job: JobFolder) -> None:
    pipe = job.folder / "pipe"  # as /dev/null would be, which root could replace by a file
    os.mkfifo(pipe)
    for place, said in (
        ("nowhere/nightly.prom", "no such directory"),
        ("pipe", "not a regular file"),
        ("tiny.onnx", "the name must end in .prom"),
    ):
        job.write(run=f"metrics: {place}")
        assert f"run.metrics: {said}" in job.run().expect(2).stderr
    assert pipe.is_fifo()


class Server:
    """An HTTP server that remembers what it was asked for."""

    def __init__(self, status: int) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def test_a_run_pings_its_start_and_its_exit_code(job: JobFolder) -> None:
    server = Server(200)
    job.write(run=f"ping_url: '{server.url}/some-id/'")
    with server.serving():
        job.run().expect(1)
        job.add(*numbered(2))
        job.run().expect(0)
        job.add_bad("bad.jpg")
        job.run().expect(3)
    assert server.asked == [f"/some-id/{what}" for what in ("start", "1", "start", "0", "start", "3")]
    assert job.events("ping_failed") == []


@contextmanager
def listening(reply: bytes | None) -> Iterator[str]:
    """Give the address of a server that says something that is not HTTP, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if reply is not None:
                    connection.sendall(reply)
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


SHORT_TIMEOUT = "import resnet_pipe.report.ping as ping; ping.TIMEOUT_S = 0.2"


@pytest.mark.parametrize("fault", ["refused", "error 500", "silent", "not HTTP", "no address"])
def test_a_ping_that_fails_is_logged_and_never_fails_the_job(done: JobFolder, fault: str) -> None:
    server = Server(500)
    with server.serving(), listening(None) as silent, listening(b"\xff\0\r\n" * 9) as strange:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            refusing = f"http://127.0.0.1:{gone.getsockname()[1]}"
        urls = {"refused": refusing, "error 500": server.url, "silent": silent, "not HTTP": strange}
        urls |= {"no address": "http://nowhere.invalid"}
        done.write(run=f"ping_url: '{urls[fault]}/id'")
        said = done.run("--quiet", faults=SHORT_TIMEOUT).expect(0).stderr
    assert said.startswith("warning: the ping to /start failed: ")
    assert said.count("\n") == 1
    start, end = done.events("ping_failed")
    assert "/start" in str(start["text"])
    assert "/0" in str(end["text"])


@contextmanager
def trickling() -> Iterator[str]:
    """Give the address of a server that goes on answering for ever, a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.05)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_ping_that_is_never_answered_to_the_end_takes_no_longer_than_its_limit(done: JobFolder) -> None:
    with trickling() as url:
        done.write(run=f"ping_url: '{url}/id'")
        said = done.run("--quiet", faults=SHORT_TIMEOUT).expect(0).stderr
    assert said == (
        "warning: the ping to /start failed: no answer within 0.2 s; the results are not affected\n"
    )


def test_a_ping_keeps_the_query_of_its_address_at_the_end(done: JobFolder) -> None:
    server = Server(200)
    done.write(run=f"ping_url: '{server.url}/key/nightly?create=1'")
    with server.serving():
        done.run().expect(0)
    assert server.asked == ["/key/nightly/start?create=1", "/key/nightly/0?create=1"]


def test_a_name_that_looks_like_lines_of_metrics_costs_none_of_them(job: JobFolder) -> None:
    job.write(run=f"pause_file: {job.folder}/pause")
    text = job.file.read_text().replace("name: nightly", r'name: "resnet_pipe_paused\r\u2028 x"')
    job.file.write_text(text)
    job.add("a.jpg")
    job.run().expect(0)
    (job.images / "a.jpg").unlink()
    job.run().expect(1)
    names = {name for name, _ in read_metrics(job.out / "metrics.prom")}
    assert {SUCCESS, LAST, "resnet_pipe_paused", "resnet_pipe_standing_failures"} <= names
