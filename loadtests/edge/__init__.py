"""Servers and clients for `python -m loadtests.edge_bench`."""
