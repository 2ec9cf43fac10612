"""The line-based shards, as the programs see them that read them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resnet_pipe.head.classify import TopK
from tests.writer.shards import Rows, columns, merge, write

ROOT = Path(__file__).parents[3]
SCHEMA = columns(("top_k", "logits"), 2, ("cat", 'a "b", c'))
ROWS = Rows(
    path=["x,y.jpg", "v.mp4"],
    frame_index=[None, 7],
    pts_s=[None, 0.25],
    logits=np.array([[0.1, -3e-45], [1e30, 16777216]], np.float32),
    top_k=TopK(np.array([[1, 0], [0, 1]], np.int32), np.array([[0.7, 0.3], [1, 0]], np.float32)),
)


def test_a_csv_has_a_header_lines_of_rfc_4180_and_the_shortest_exact_numbers(tmp_path: Path) -> None:
    assert write(tmp_path / "shard", "csv", SCHEMA, ROWS).read_bytes() == (
        b"path,frame_index,pts_s,index_1,label_1,score_1,index_2,label_2,score_2,logit_0,logit_1\r\n"
        b'"x,y.jpg",,,1,"a ""b"", c",0.7,0,cat,0.3,0.1,-3e-45\r\n'
        b'v.mp4,7,0.25,0,cat,1.0,1,"a ""b"", c",0.0,1e+30,16777216.0\r\n'
    )


FORMULAS = ["'", "''", "'=1", "'a", "+1", "-1", "=1", "@a", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff201"]
"""Texts that a spreadsheet would not take for texts, and those that look like the way out."""


def test_no_text_in_a_csv_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    made = columns(("top_k", "logits"), 1, FORMULAS)
    count = len(FORMULAS)
    scores = np.full((count, 1), -0.5, np.float32)
    table = Rows(
        path=sorted(FORMULAS),
        frame_index=[None] * count,
        pts_s=[-0.25] * count,
        logits=np.full((count, count), -1, np.float32),
        top_k=TopK(np.arange(count, dtype=np.int32)[:, None], scores),
    )
    with write(tmp_path / "shard", "csv", made, table).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == [f"'{text}" for text in sorted(FORMULAS)]
    assert [line["label_1"] for line in lines] == [f"'{text}" for text in FORMULAS]
    assert {(line["pts_s"], line["score_1"], line["logit_0"]) for line in lines} == {
        ("-0.25", "-0.5", "-1.0")
    }


def test_a_csv_from_before_formulas_were_quoted_is_merged_like_one_of_today(tmp_path: Path) -> None:
    made = columns(("top_k",), 1, ("=cat",))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "part-000000.csv").write_text(
        "path,frame_index,pts_s,index_1,label_1,score_1\r\n"
        "'a,,,0,=cat,1.0\r\n+b,,,0,=cat,1.0\r\n=c,,,0,=cat,1.0\r\nd,,,0,=cat,1.0\r\n",
        newline="",
    )
    merged = merge(tmp_path / "out", "csv", made, (tmp_path / "old", {"+b"}))
    assert merged.read_text(encoding="utf-8").split() == [
        "path,frame_index,pts_s,index_1,label_1,score_1",
        "''a,,,0,'=cat,1.0", "'=c,,,0,'=cat,1.0", "d,,,0,'=cat,1.0",
    ]  # fmt: skip
    again = merge(tmp_path / "again", "csv", made, (tmp_path / "out", {"'a"}))
    assert again.read_text(encoding="utf-8").split()[1:] == ["'=c,,,0,'=cat,1.0", "d,,,0,'=cat,1.0"]


def test_json_lines_are_one_compact_object_a_row(tmp_path: Path) -> None:
    text = write(tmp_path / "shard", "jsonl", SCHEMA, ROWS).read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        '{"path":"x,y.jpg","frame_index":null,"pts_s":null,"top_k":['
        '{"index":1,"label":"a \\"b\\", c","score":0.7},{"index":0,"label":"cat","score":0.3}],'
        '"logits":[0.1,-3e-45]}'
    )
    assert json.loads(text.splitlines()[1])["frame_index"] == 7


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_text_is_utf_8_whatever_the_locale_says(tmp_path: Path, kind: str) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.writer.shards import *; "
        "made, (kind, folder) = schema('csv'), sys.argv[1:]; "
        "write(Path(folder) / 'shard', kind, made, rows([chr(0x2603)])); "
        "merge(Path(folder) / 'merged', kind, made, (Path(folder) / 'shard', ()))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, kind, tmp_path], env=environment, cwd=ROOT, check=True)
    assert "☃".encode() in (tmp_path / f"merged/part-000000.{kind}").read_bytes()
