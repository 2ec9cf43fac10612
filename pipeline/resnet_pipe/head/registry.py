"""The heads there are. Another one is a line here."""

from __future__ import annotations

from resnet_pipe.head.classify import Classify

HEADS = {"classify": Classify}
"""Kind of network -> what its outputs mean."""
