"""Measuring: operations, and later latency and throughput."""
