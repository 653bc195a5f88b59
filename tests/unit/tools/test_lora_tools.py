"""Resizing and merging LoRAs: held against the whole weights, decomposed the long way."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from backend.errors import Conflict, InvalidArgument, InvalidInput, PathOutsideDataFolder
from backend.tools import lora as loras
from backend.tools.__main__ import main
from backend.tools.arguments import Files, with_ratio
from backend.tools.decompose import choose, decompose
from backend.tools.lora import Lora, Module
from backend.tools.merge import merge
from backend.tools.resize import Wanted, resize, resize_module
from backend.tools.verify import verify

LINEAR, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_resnets_0_conv1"


def linear(rank: int = 6, alpha: float = 3.0, seed: int = 0, out: int = 40, inner: int = 24) -> Module:
    chance = torch.Generator().manual_seed(seed)
    return Module(torch.randn(out, rank, generator=chance), torch.randn(rank, inner, generator=chance), alpha)


def conv(rank: int = 5, alpha: float = 5.0, seed: int = 1) -> Module:
    chance = torch.Generator().manual_seed(seed)
    return Module(
        torch.randn(16, rank, 1, 1, generator=chance), torch.randn(rank, 8, 3, 3, generator=chance), alpha
    )


def some(name: str = "a", seed: int = 0, **metadata: str) -> Lora:
    modules = {LINEAR: linear(seed=seed), CONV: conv(seed=seed + 1)}
    return Lora(name, modules, {"ss_network_dim": "6", **metadata}, torch.float32)


def quiet(done: int, total: int, name: str, resized: object) -> None:
    """Nobody listens."""


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "loras").mkdir()
    monkeypatch.setenv("LORAPOOL_DATA_DIR", str(tmp_path))
    return tmp_path


class TestDecomposing:
    def test_it_is_that_of_the_product(self) -> None:
        module = linear()
        found = decompose(module.up, module.down)
        whole = torch.linalg.svdvals(module.up @ module.down)
        assert torch.allclose(found.values, whole[:6], atol=1e-4)
        up, down = found.factors(6)
        assert torch.allclose(up @ down, module.up @ module.down, atol=1e-4)

    def test_no_factors_of_that_rank_are_nearer(self) -> None:
        module = linear()
        u, s, v = torch.linalg.svd(module.up @ module.down)
        up, down = decompose(module.up, module.down).factors(2)
        assert torch.allclose(up @ down, u[:, :2] * s[:2] @ v[:2], atol=1e-4)

    @pytest.mark.parametrize(
        ("method", "parameter", "most", "rank"),
        [
            ("fixed", 0.0, 3, 3),
            ("fixed", 0.0, 9, 4),
            ("sv_ratio", 2.5, 4, 3),  # 4 and 2 are larger than 4 / 2.5, and one more
            ("sv_ratio", 100.0, 4, 4),
            ("sv_ratio", 100.0, 3, 3),
            ("sv_cumulative", 0.5, 4, 2),  # 4 of 8, and one more
            ("sv_cumulative", 0.6, 4, 3),
            ("sv_cumulative", 1.0, 4, 4),
            ("sv_fro", 0.85, 4, 2),  # 4 of √22, and one more
            ("sv_fro", 0.9, 4, 3),
            ("sv_fro", 0.9, 1, 1),
        ],
    )
    def test_how_many_values_are_kept(self, method: str, parameter: float, most: int, rank: int) -> None:
        values = torch.tensor([4.0, 2.0, 1.0, 1.0])
        assert choose(values, method, parameter, most) == rank  # type: ignore[arg-type]

    def test_of_nothing_one_is_kept(self) -> None:
        assert choose(torch.zeros(4), "sv_fro", 0.9, 4) == 1


class TestResizing:
    def test_at_its_own_rank_it_changes_the_model_as_before(self) -> None:
        for module in (linear(), conv()):
            resized = resize_module(module, Wanted(module.rank)).module
            assert torch.allclose(resized.delta(), module.delta(), atol=1e-4)
            assert (resized.up.shape, resized.down.shape) == (module.up.shape, module.down.shape)
            assert resized.alpha == pytest.approx(module.alpha)

    def test_a_larger_rank_changes_nothing_either(self) -> None:
        resized = resize_module(conv(), Wanted(4, conv_rank=9)).module
        assert resized.rank == 9
        assert torch.allclose(resized.delta(), conv().delta(), atol=1e-4)

    def test_a_smaller_one_keeps_the_share_that_it_says(self) -> None:
        module = linear()
        resized = resize_module(module, Wanted(2))
        left = (module.delta() - resized.module.delta()).norm() / module.delta().norm()
        assert float(left**2 + resized.kept**2) == pytest.approx(1.0, abs=1e-4)
        assert resized.module.scale == pytest.approx(module.scale)

    def test_the_metadata_say_what_was_done(self) -> None:
        modules, metadata = resize(some(sshs_model_hash="old", ss_training_comment="mine"), Wanted(2), quiet)
        assert {module.rank for module in modules.values()} == {2}
        assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "1")
        assert metadata["ss_training_comment"] == "resized from rank 6 to 2; mine"
        assert "sshs_model_hash" not in metadata

    def test_ranks_that_differ_are_called_dynamic(self) -> None:
        lora = Lora("a", {"m1": linear(seed=1), "m2": linear(seed=5, rank=2, alpha=1.0)}, {}, torch.float16)
        _, metadata = resize(lora, Wanted(6, method="sv_fro", parameter=0.99), quiet)
        assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("Dynamic", "Dynamic")

    @pytest.mark.parametrize(
        "wanted",
        [
            Wanted(0),
            Wanted(4, conv_rank=-1),
            Wanted(4, None, "sv_ratio", 1.0),
            Wanted(4, None, "sv_fro", 1.5),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wanted: Wanted) -> None:
        with pytest.raises(InvalidArgument):
            resize(some(), wanted, quiet)


class TestMerging:
    def test_the_sum_is_exact(self) -> None:
        first, second = some("a", 0), some("b", 7)
        modules, metadata = merge([(first, 0.5), (second, -1.25)], None, quiet)
        for name in (LINEAR, CONV):
            expected = 0.5 * first.modules[name].delta() - 1.25 * second.modules[name].delta()
            assert torch.allclose(modules[name].delta(), expected, atol=1e-4)
        assert modules[LINEAR].rank == 12
        assert metadata["ss_network_dim"] == "12"
        assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "10", "conv_alpha": "10"}
        assert metadata["ss_training_comment"] == "merged: a × 0.5, b × -1.25"

    def test_a_module_that_only_one_has_is_taken_over(self) -> None:
        only = Lora("b", {"lora_te_x": linear(seed=3)}, {}, torch.float32)
        modules, _ = merge([(some(), 1.0), (only, 2.0)], None, quiet)
        assert torch.allclose(modules["lora_te_x"].delta(), 2 * linear(seed=3).delta(), atol=1e-5)
        assert set(modules) == {LINEAR, CONV, "lora_te_x"}

    def test_to_a_rank_it_is_the_nearest_to_the_sum(self) -> None:
        modules, _ = merge([(some("a", 0), 1.0), (some("b", 7), 1.0)], Wanted(3), quiet)
        whole = some("a", 0).modules[LINEAR].delta() + some("b", 7).modules[LINEAR].delta()
        u, s, v = torch.linalg.svd(whole)
        assert torch.allclose(modules[LINEAR].delta(), u[:, :3] * s[:3] @ v[:3], atol=1e-3)

    def test_models_of_different_shape_or_kind_are_refused(self) -> None:
        other = Lora("b", {LINEAR: linear(inner=30)}, {}, torch.float32)
        with pytest.raises(InvalidArgument, match="different shapes"):
            merge([(some(), 1.0), (other, 1.0)], None, quiet)
        with pytest.raises(InvalidArgument, match="different base models"):
            merge(
                [
                    (some(ss_base_model_version="sd_v1"), 1.0),
                    (some(ss_base_model_version="sdxl_base_v1-0"), 1.0),
                ],
                None,
                quiet,
            )

    @pytest.mark.parametrize(
        ("text", "found"), [("a", ("a", 1.0)), ("a=0.5", ("a", 0.5)), ("a=b=-2", ("a=b", -2.0))]
    )
    def test_a_ratio_stands_behind_the_file(self, text: str, found: tuple[str, float]) -> None:
        assert with_ratio(text) == found

    def test_a_ratio_is_a_number(self) -> None:
        with pytest.raises(InvalidArgument, match="is no number"):
            with_ratio("a=much")


def stored(data_dir: Path, name: str = "a", *, seed: int = 0, dtype: torch.dtype = torch.float16) -> Path:
    path = data_dir / "loras" / f"{name}.safetensors"
    loras.write(
        path, some(name, seed).modules, {"ss_network_dim": "6", "ss_base_model_version": "sd_v1"}, dtype
    )
    return path


def test_the_files_are_kohyas_and_their_hashes_recompute(data_dir: Path) -> None:
    source = stored(data_dir)
    assert main(["resize", "a", "--rank", "3"]) == 0
    path = data_dir / "loras" / "a-rank3.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert metadata["sshs_model_hash"] == hashlib.sha256(raw[8 + length :]).hexdigest()
    assert metadata["sshs_legacy_hash"] == "e3b0c442"  # of nothing: the file is smaller than a megabyte
    with safe_open(source, framework="pt") as file:
        assert set(header) == set(file.keys())
    assert header[f"{CONV}.lora_down.weight"]["shape"] == [3, 8, 3, 3]
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert path.stat().st_mode & 0o777 == 0o644


def test_merged_with_its_own_opposite_nothing_is_left_and_verify_says_so(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(data_dir)
    assert main(["merge", "a", "a=-1", "--rank", "4", "--precision", "float", "--output", "loras/zero"]) == 0
    whole = loras.read(data_dir / "loras" / "zero.safetensors")
    assert whole.dtype == torch.float32
    assert max(float(module.delta().abs().max()) for module in whole.modules.values()) < 1e-4


def test_a_good_file_is_said_to_be_good(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(data_dir)
    assert main(["verify", "a"]) == 0
    said = capsys.readouterr().out
    assert "rank 6, alpha 3, float16; modules: 2 of the U-Net" in said
    assert "its hash is right" in said


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


def _with(path: Path, change: Tensor) -> None:
    module = some().modules[LINEAR]
    save_file(
        {f"{LINEAR}.lora_up.weight": module.up * change, f"{LINEAR}.lora_down.weight": module.down}, path
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_flip, "not those that its hash was made of"),
        (lambda path: _with(path, torch.tensor(float("nan"))), "holds NaN or infinite values"),
        (lambda path: _with(path, torch.tensor(0.0)), "it changes nothing"),
    ],
)
def test_a_bad_file_is_a_failure_that_names_the_fault(
    data_dir: Path, capsys: pytest.CaptureFixture[str], spoil: object, said: str
) -> None:
    path = stored(data_dir)
    spoil(path)  # type: ignore[operator]
    assert any(said in fault for fault in verify(path).faults)
    assert main(["verify", "loras/a.safetensors"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"a.hada_w1_a": torch.ones(2, 2)}, "is a LoHa"),
        ({"a.lokr_w1": torch.ones(2, 2)}, "is a LoKr"),
        ({"a.weight": torch.ones(2, 2)}, "is no LoRA"),
        ({"a.lora_up.weight": torch.ones(2, 2)}, "is not whole"),
        (
            {"a.lora_up.weight": torch.ones(2, 2), "a.lora_down.weight": torch.ones(3, 2)},
            "do not fit together",
        ),
        ({}, "is empty"),
    ],
)
def test_what_is_no_such_lora_is_one_message(tmp_path: Path, keys: dict[str, Tensor], said: str) -> None:
    save_file(keys, tmp_path / "x.safetensors")
    with pytest.raises(InvalidInput, match=said):
        loras.read(tmp_path / "x.safetensors")


def test_what_is_no_safetensors_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x10")
    with pytest.raises(InvalidInput, match="no whole safetensors file"):
        loras.read(tmp_path / "x.safetensors")


def test_nothing_outside_the_data_folder_is_read_or_written(data_dir: Path) -> None:
    files = Files(data_dir)
    (data_dir / "loras" / "link").symlink_to("/etc")
    for text in ("../x", "/etc/passwd", "loras/link/passwd"):
        with pytest.raises(PathOutsideDataFolder):
            files.existing(text, "loras")
        with pytest.raises(PathOutsideDataFolder):
            files.new(text if "/" in text else f"{text}/", default="x.safetensors", overwrite=True)


def test_a_lora_of_a_task_is_found_without_its_mark_the_newest_first(data_dir: Path) -> None:
    for age, mark in enumerate(("0123abcd", "89abcdef")):
        path = stored(data_dir, f"cat-{mark}")
        os.utime(path, (1000 - age, 1000 - age))
    stored(data_dir, "cat-and-dog-0123abcd")
    assert Files(data_dir).existing("cat", "lora").stem == "cat-0123abcd"
    with pytest.raises(InvalidArgument, match="there is no file dog"):
        Files(data_dir).existing("dog", "lora")


def test_a_file_that_is_there_is_kept(data_dir: Path) -> None:
    before = stored(data_dir).read_bytes()
    with pytest.raises(Conflict, match="was not changed"):
        Files(data_dir).new("a", default="x.safetensors", overwrite=False)
    assert main(["resize", "a", "--rank", "2", "--output", "a"]) == 1
    assert (data_dir / "loras" / "a.safetensors").read_bytes() == before
