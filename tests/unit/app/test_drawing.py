"""How a drawing becomes queries: rows, columns, labels."""

from __future__ import annotations

from app.drawing import checkpoints, comparison, grid, plain

QUERY = {"prompt": "a cat", "loras": [{"name": "style", "weight": 0.5}], "seed": 3}


def test_a_plain_drawing_is_its_query() -> None:
    [cell] = plain(QUERY).cells
    assert (cell.row, cell.column, cell.query) == (0, 0, QUERY)


def test_a_comparison_is_the_same_query_without_and_with_its_loras() -> None:
    plan = comparison(QUERY)
    without, own = plan.cells
    assert len(plan.columns) == 2
    assert without.query == {**QUERY, "loras": []}
    assert own.query == QUERY


def test_a_grid_has_a_row_for_each_checkpoint_and_a_column_for_each_weight() -> None:
    plan = grid(
        QUERY, [("epoch 1", "jobs/t/a.safetensors"), ("finished", "jobs/t/b.safetensors")], [0.5, 1.0, 2]
    )
    assert plan.rows == ("epoch 1", "finished")
    assert plan.columns == ("0.5", "1", "2")
    assert [(cell.row, cell.column) for cell in plan.cells] == [(r, c) for r in (0, 1) for c in (0, 1, 2)]
    last = plan.cells[-1].query
    assert last["loras"] == [{"name": "style", "weight": 0.5}, {"name": "jobs/t/b.safetensors", "weight": 2}]
    assert {cell.query["seed"] for cell in plan.cells} == {3}


def test_checkpoints_are_in_the_order_of_the_training_and_named_by_what_made_them() -> None:
    files = [
        {"kind": "lora", "path": "output/a.safetensors", "step": 30, "epoch": 3},
        {"kind": "checkpoint", "path": "output/a-000002.safetensors", "step": 20, "epoch": 2},
        {"kind": "checkpoint", "path": "output/a-000001.safetensors", "step": 10, "epoch": 1},
        {"kind": "checkpoint", "path": "output/a-step00000030.safetensors", "step": 30, "epoch": 3},
        {"kind": "checkpoint", "path": "output/a-step00000005.safetensors", "step": 5, "epoch": 1},
        {"kind": "sample", "path": "output/sample/x.png", "step": 5, "epoch": 1},
        {"kind": "state", "path": "output/a-state", "step": 5, "epoch": 1},
        {"kind": "checkpoint", "path": "output/a-000003.safetensors", "step": 25, "epoch": 3, "size": None},
    ]
    files = [{"size": 1, **file} for file in files]
    assert checkpoints("t", files) == [
        ("step 5", "jobs/t/output/a-step00000005.safetensors"),
        ("epoch 1", "jobs/t/output/a-000001.safetensors"),
        ("epoch 2", "jobs/t/output/a-000002.safetensors"),
        ("finished", "jobs/t/output/a.safetensors"),
    ]
