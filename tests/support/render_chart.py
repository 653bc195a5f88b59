"""Render a chart with Helm's own engine: `python render_chart.py CHART` with the values as JSON on standard input.

A process of its own, because the engine is written in Go and brings a run time along.
"""

from __future__ import annotations

import json
import sys

import helm_python

with helm_python.Chart.load(sys.argv[1]) as chart:
    values = json.load(sys.stdin)
    try:
        chart.validate_schema(values)
        rendered = chart.render(values, name="studio", namespace="loras")
    except helm_python.HelmError as error:
        raise SystemExit(f"helm: {error}") from None
print(json.dumps({"files": rendered, "lint": helm_python.lint(sys.argv[1])}))
