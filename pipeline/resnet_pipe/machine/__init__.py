"""This machine: processors, memory, control groups, GPUs, libraries."""
