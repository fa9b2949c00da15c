"""Kinds of accelerators: the resource that stands for them, and the variable by which libraries are told which to use.

Place: the ground. A number of the core says kind and index (cpp/cyray/common/resource_names.h has the same order);
of GPUs, the first kind, it is the index alone.
"""

from __future__ import annotations

from collections.abc import Iterable

VARIABLES = {
    "GPU": "CUDA_VISIBLE_DEVICES",
    "TPU": "TPU_VISIBLE_CHIPS",
    "NPU": "ASCEND_RT_VISIBLE_DEVICES",
    "HPU": "HABANA_VISIBLE_MODULES",
    "neuron_cores": "NEURON_RT_VISIBLE_CORES",
    "RBLN": "RBLN_DEVICES",
    "MUSA": "MUSA_VISIBLE_DEVICES",
}
_KINDS = tuple(VARIABLES)
_OF_KIND = 1 << 16


def by_kind(numbers: Iterable[int]) -> dict[str, list[int]]:
    """Indexes by the name of their resource, of the kinds that are among them."""
    found: dict[str, list[int]] = {}
    for number in numbers:
        found.setdefault(_KINDS[number // _OF_KIND], []).append(number % _OF_KIND)
    return found
