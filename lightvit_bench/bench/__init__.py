"""Measuring: operations, latency, memory; run records, and the tables made of them."""
