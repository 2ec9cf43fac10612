"""Manifests: lists of the files that are to be read."""
