"""The program: `python -m resnet_pipe` is the same as the console script `resnet-pipe`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Ctrl-C while it is still loading ends it quietly."""
    try:
        from resnet_pipe.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # as `ExitCode.SIGINT`, which may not be loaded


if __name__ == "__main__":
    main()
