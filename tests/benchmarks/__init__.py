"""Benchmarks beside coremltools: `make bench`. Each job runs in a process of its own, so that peak memory is its own."""
