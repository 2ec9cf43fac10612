"""`python -m resnet_pipe` is the same as the console script `resnet-pipe`."""

from resnet_pipe.cli import main

main()
