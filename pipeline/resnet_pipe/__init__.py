"""Batch inference for ResNets: images become features, unattended, and every stage is timed."""

__version__ = "0.1.0"
