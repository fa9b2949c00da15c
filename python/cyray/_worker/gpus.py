"""Which GPUs a task or an actor sees."""

from __future__ import annotations

import os

from cyray._process import me


def show_gpus(gpu_ids: list[int]) -> None:
    """Makes the assigned GPUs the visible ones, before user code looks."""
    visible = me.visible_gpus
    names = [visible[i] if visible and i < len(visible) else str(i) for i in gpu_ids]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
