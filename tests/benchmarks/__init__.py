"""Benchmarks beside coremltools: `make bench`. Each job has a process of its own, and so a peak memory of its own."""
