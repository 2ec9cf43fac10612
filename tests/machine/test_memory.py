"""What a run says about its memory is about its own."""

from __future__ import annotations

import subprocess
import sys

PARENT = """
import subprocess, sys
ballast = b"x" * (300 << 20)
child = "from resnet_pipe.machine.memory import peak_rss_kb; print(peak_rss_kb())"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
"""


def test_the_peak_of_a_process_leaves_out_what_its_parent_had() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True)
    assert 5_000 < int(done.stdout) < 200_000
