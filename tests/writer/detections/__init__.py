"""Tests of the writers of boxes in the formats of other tools."""
