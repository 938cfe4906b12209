"""Which number format to train in: bfloat16 where the processor multiplies it in hardware, else float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "float32"]
_CPU_FLAGS = {"amx_bf16", "avx512_bf16", "avx10_2"}


def device_here() -> torch.device:
    """The GPU that this process may use, if any, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache  # asked at every step
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (x86: AMX or AVX-512 BF16; Arm: the bf16 extension)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: emulated bfloat16 would be slower than float32
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool((_CPU_FLAGS | {"bf16"}) & set(flags.split()))


def resolve_precision(wanted: Precision, device: torch.device) -> Literal["bf16", "float32"]:
    """What `auto` means on `device`; anything else is taken at its word."""
    if wanted != "auto":
        return wanted
    has = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    return "bf16" if has else "float32"


def autocast(precision: Literal["bf16", "float32"], device: torch.device) -> AbstractContextManager[object]:
    """The context for a forward pass: weights stay float32, products are done in `precision`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
