"""The process of a study's trial: it does what the command line does."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from typing import NoReturn

from resnet_pipe.cli.main import main


def serve(connection: Connection) -> NoReturn:
    """Run the command whose arguments are the first message."""
    sys.argv[1:] = connection.recv()
    main()
