"""The process of a trial: `python -m resnet_pipe.study.trial_process STUDY run JOB ...`.

It does what `resnet-pipe run JOB ...` does, and ends with the study, whose process id it is given.
"""

from __future__ import annotations

import sys

from resnet_pipe.cli.main import main
from resnet_pipe.process import child

if __name__ == "__main__":
    child.die_with(int(sys.argv.pop(1)))
    main()
