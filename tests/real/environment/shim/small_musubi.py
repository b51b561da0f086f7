"""Gives musubi-tuner a Wan and a T5 small enough for a CPU; the code that runs stays musubi's own.

The VAE keeps its full size. So does the width of the text, 4096, which WanModel takes from its own defaults.
"""

import functools

from musubi_on_cpu import around

TASKS = ("t2v-A14B", "i2v-A14B", "t2v-14B")
WAN = {"dim": 64, "ffn_dim": 128, "freq_dim": 64, "num_heads": 2, "num_layers": 2}
T5 = {"vocab_size": 256, "dim_attn": 64, "dim_ffn": 64, "num_heads": 2, "encoder_layers": 2}


@around("musubi_tuner.wan.configs")
def _small_wan(configs):
    yield
    for task in TASKS:
        configs.WAN_CONFIGS[task].update(WAN)


@around("musubi_tuner.wan.modules.t5")
def _small_t5(t5):
    yield
    t5.umt5_xxl = functools.partial(t5.umt5_xxl, **T5)
