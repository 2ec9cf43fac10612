"""What the processor can compute is told by its flags alone, as Linux lists them."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from resnet_pipe.machine import processor

AVX512 = "avx2 avx512f avx512bw avx512vl avx512dq"
PROCESSORS = {
    # machine, what Linux says: saturates, computes bf16, has AMX for it
    "AVX2": ("x86_64", "flags : fpu avx avx2", (True, False, False)),
    "AVX-512": ("x86_64", f"flags : {AVX512}", (True, False, False)),
    "VNNI": ("x86_64", f"flags : {AVX512} avx512_vnni", (False, False, False)),
    "AVX-512 bf16": ("x86_64", f"flags : {AVX512} avx512_vnni avx512_bf16", (False, True, False)),
    "AVX-512 bf16, partly hidden": ("x86_64", "flags : avx2 avx512f avx512_bf16", (True, False, False)),
    "AMX": ("x86_64", f"flags : {AVX512} avx512_vnni amx_bf16 amx_tile", (False, True, True)),
    "VNNI of AVX": ("x86_64", "flags : avx2 avx_vnni", (False, False, False)),
    "bf16 of AVX": ("x86_64", "flags : avx2 avx_vnni avx_ne_convert", (False, True, False)),
    "an x86 that does not tell": ("AMD64", "", (True, False, False)),
    "ARM": ("aarch64", "Features : fp asimd", (False, False, False)),
    "ARM with bf16": ("aarch64", "Features : fp asimd asimddp i8mm bf16", (False, True, False)),
    "an ARM that does not tell": ("arm64", "", (False, False, False)),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_a_processor_can_compute(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, said, expected = PROCESSORS[name]
    monkeypatch.setattr(platform, "machine", lambda: machine)
    path = tmp_path / "cpuinfo"
    if said:
        path.write_text(f"processor : 0\n{said}\n\nprocessor : 1\nflags : none\n")
    asked = (processor.saturates, processor.computes_bf16, processor.multiplies_bf16_tiles)
    assert tuple(ask(path) for ask in asked) == expected
