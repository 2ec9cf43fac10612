"""The processor as Linux describes it, and what it can compute; all other code asks here."""

from __future__ import annotations

import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI = frozenset(["avx512_vnni", "avx_vnni"])
"""Instructions of x86: each of them adds products of bytes to 32 bits."""
_BF16_PRODUCTS = frozenset(["avx512_bf16", "amx_bf16"])
_BF16_NEEDS = frozenset(["avx512bw", "avx512vl", "avx512dq"])
"""What oneDNN wants beside them; a virtual machine may hide some of it."""
_BF16_ALONE = frozenset(["avx_ne_convert", "bf16"])
"""Of x86 without AVX-512, and of ARM."""
_FIRST_CORE_BYTES = 1 << 16
"""More than what is said about one core; a machine may have hundreds."""


def info(path: Path | None = None) -> dict[str, str]:
    """Return what Linux says about the first core, such as its `model name`; nothing elsewhere."""
    try:
        with (path or CPUINFO).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FIRST_CORE_BYTES).partition("\n\n")[0]
    except OSError:
        return {}
    return dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.MULTILINE))


def features(path: Path | None = None) -> frozenset[str]:
    """Return the processor's instructions under Linux's names, such as `avx2` or, on ARM, `asimd`."""
    values = info(path)
    return frozenset((values.get("flags") or values.get("Features", "")).split())


def is_x86() -> bool:
    """Tell whether this is a 64-bit x86, whatever the system calls it."""
    return platform.machine() in ("x86_64", "AMD64")


def saturates(path: Path | None = None) -> bool:
    """Tell whether sums of products of unsigned and signed bytes saturate at 16 bits.

    AVX2 and AVX-512 have one instruction for them, which adds two products: 2 x 255 x 127 is more than 16
    bits hold, 2 x 255 x 64 is not. With VNNI all sums are exact. Where the system does not tell, an x86 is
    taken to lack it. ARM, by reading alone: with asimddp, i8mm or neither, its instructions sum in 32 bits.
    """
    return is_x86() and not VNNI & features(path)


def computes_bf16(path: Path | None = None) -> bool:
    """Tell whether there are instructions for bf16; elsewhere libraries refuse it, or emulate it slowly.

    ARM, by reading alone: its flag is `bf16`.
    """
    had = features(path)
    return bool(_BF16_ALONE & had) or (bool(_BF16_PRODUCTS & had) and had >= _BF16_NEEDS)


def multiplies_bf16_tiles(path: Path | None = None) -> bool:
    """Tell whether there is AMX for bf16: only with it was bf16 seen to be faster than fp32."""
    return "amx_bf16" in features(path)
