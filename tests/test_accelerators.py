"""Accelerators that are no GPUs: by number, and each process sees its own."""

from __future__ import annotations

import os

import cyray


def test_accelerators_of_other_kinds_are_handed_out_by_number():
    cyray.init(num_cpus=4, num_gpus=1, resources={"TPU": 2, "neuron_cores": 4})

    @cyray.remote(resources={"TPU": 1})
    class Holder:
        def seen(self):
            ids = cyray.get_runtime_context().get_accelerator_ids()
            return ids["TPU"], os.environ["TPU_VISIBLE_CHIPS"], ids["GPU"], cyray.get_gpu_ids()

    holders = [Holder.remote() for _ in range(2)]
    seen = cyray.get([holder.seen.remote() for holder in holders], timeout=20)
    assert sorted(seen) == [(["0"], "0", [], []), (["1"], "1", [], [])]

    @cyray.remote(num_gpus=1, resources={"neuron_cores": 2})
    def both():
        ids = cyray.get_runtime_context().get_accelerator_ids()
        return (
            ids["GPU"],
            len(ids["neuron_cores"]),
            os.environ["NEURON_RT_VISIBLE_CORES"].count(","),
        )

    assert cyray.get(both.remote(), timeout=20) == (["0"], 2, 1)

    @cyray.remote
    def none():
        return [
            key for key in os.environ if key in ("TPU_VISIBLE_CHIPS", "NEURON_RT_VISIBLE_CORES")
        ]

    assert cyray.get([none.remote() for _ in range(8)], timeout=20) == [[]] * 8
