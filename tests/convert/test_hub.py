"""A network on a hub is fetched once, of one commit; without a network the end comes soon, with what to do.

The hub is a server on this machine that answers as the real one does.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resnet_pipe.convert.sources import hub as hub_of_ours
from resnet_pipe.model.model import read_sidecar
from tests.convert import elsewhere
from tests.run.commands import Result
from tests.run.jobs import Cli

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories by name, each a directory; `asked` are the files that were sent."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        hub = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                status, headers, body = hub.answer(repositories, self.path.split("?")[0])
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)
                    if "/resolve/" in self.path:
                        hub.asked.append(self.path.rpartition("/")[2])

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, repositories: dict[str, Path], path: str) -> tuple[int, dict[str, str], bytes]:
        for name, directory in repositories.items():
            if path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
                if "/revision/" in path and path.rpartition("/")[2] not in ("main", COMMIT):
                    return 404, {"X-Error-Code": "RevisionNotFound"}, b""
                files = [{"rfilename": file.name} for file in sorted(directory.iterdir())]
                found = {"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []}
                return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()
            if path == f"/api/models/{name}/tree/{COMMIT}":
                listed = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"}
                    for file in sorted(directory.iterdir())
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()
            file = directory / path.rpartition("/")[2]
            if path.startswith(f"/{name}/resolve/") and file.is_file():
                body = file.read_bytes()
                etag = f'"{hashlib.sha256(body).hexdigest()}"'
                return 200, {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}, body
        return 404, {"X-Error-Code": "RepoNotFound"}, b""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet, as a repository has it: with a card, and with more than is needed."""
    directory = tmp_path_factory.mktemp("repository")
    basic = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "num_labels": 3}
    elsewhere.of_transformers(directory, {"depths": [1, 1, 1, 1], **basic})
    (directory / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# A network\n")
    (directory / "flax_model.msgpack").write_bytes(b"not wanted")
    return directory


@pytest.fixture
def hub(saved: Path) -> Iterator[Hub]:
    found = Hub({"me/tiny": saved, "timm/tiny.a1_in1k": saved})
    yield found
    found.server.shutdown()
    found.server.server_close()


def convert(spec: str, tmp_path: Path, endpoint: str, **environment: str) -> Result:
    """Convert in a process of its own: the hub's library looks at the environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "resnet_pipe", "convert", spec, "--out", tmp_path / "models"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def fetch(tmp_path: Path, endpoint: str, **environment: str) -> tuple[Path, str]:
    """Fetch a repository in a process of its own; return where it is, and its commit."""
    script = (
        "from resnet_pipe.convert.sources import directory, hub\n"
        "print(*hub.fetch('me/tiny', None, (*directory.FILES, 'model.safetensors')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    directory, commit = done.stdout.split()
    return Path(directory), commit


def test_a_repository_is_fetched_once_and_known_without_a_network(hub: Hub, tmp_path: Path) -> None:
    wanted = {"config.json", "preprocessor_config.json", "README.md", "model.safetensors"}
    directory, commit = fetch(tmp_path, hub.url)
    assert commit == COMMIT
    assert {file.name for file in directory.iterdir()} == wanted == set(hub.asked)
    hub.server.shutdown()
    assert fetch(tmp_path, hub.url, HF_HUB_OFFLINE="1") == (directory, COMMIT)
    assert len(hub.asked) == len(wanted)


def test_its_commit_and_its_licence_are_in_the_sidecar(
    saved: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_of_ours, "fetch", lambda *_: (saved, COMMIT))
    cli("convert", "hf:me/tiny", "--out", tmp_path).expect(0)
    sidecar = read_sidecar(tmp_path / "me--tiny.json")
    assert (sidecar.source, sidecar.architecture, sidecar.revision) == ("transformers", "resnet10", COMMIT)
    assert (sidecar.licence, sidecar.weights.requested) == ("cc-by-nc-4.0", "hf:me/tiny")
    assert set(sidecar.files) == {"config.json", "preprocessor_config.json", "README.md"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:me/missing", "there is no repository me/missing"),
        ("hf:me/tiny@v9", "no revision v9"),
        ("hf:../../etc", "not the name of a network"),
        ("hf:microsoft", "write hf:OWNER/NAME"),
        ("timm:nothing.at_all", "there is no repository timm/nothing.at_all"),
    ],
)
def test_what_a_hub_does_not_have_is_said(hub: Hub, tmp_path: Path, spec: str, said: str) -> None:
    assert said in convert(spec, tmp_path, hub.url).expect(2).stderr
    assert not (tmp_path / "models").exists()


def test_without_a_network_the_end_comes_soon_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        started = time.monotonic()
        result = convert("hf:me/tiny", tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}").expect(2)
    assert time.monotonic() - started < 30
    for remedy in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "convert its directory"):
        assert remedy in result.stderr


@pytest.mark.slow
def test_a_hub_that_accepts_and_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        started = time.monotonic()
        convert("hf:me/tiny", tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}").expect(2)
    assert time.monotonic() - started < 60
