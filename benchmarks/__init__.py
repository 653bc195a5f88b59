"""Measurements, each beside a rival on the same work in the same run. `make bench` runs them all."""
