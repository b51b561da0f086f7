"""Run by musubi-tuner's Python with the shim: writes random weights and a tokenizer into the folder argv[1].

Everything is built by musubi's own classes, so the files have the keys and shapes that its loaders expect.
"""

import sys
from pathlib import Path

import torch
from musubi_tuner.wan.configs import WAN_CONFIGS
from musubi_tuner.wan.modules.model import WanModel
from musubi_tuner.wan.modules.t5 import umt5_xxl
from musubi_tuner.wan.modules.vae import WanVAE_
from safetensors.torch import save_file
from small_musubi import T5
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import T5TokenizerFast

# Any 40 hex digits will do: the hub client follows refs/main to the folder of that name.
REVISION = "5ca1ab1e" * 5


def write_dit(path, task, seed):
    torch.manual_seed(seed)
    config = WAN_CONFIGS[task]
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers")}
    kind, version = ("i2v" if config.i2v else "t2v"), ("2.2" if config.v2_2 else "2.1")
    model = WanModel(model_type=kind, model_version=version, **sizes)
    # Zero as musubi initialises it, and then no gradient would reach the blocks that a LoRA trains.
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    save_file(model.state_dict(), path)


def write_vae(path):
    torch.manual_seed(0)
    # The sizes are the defaults of _video_vae in wan/modules/vae.py.
    model = WanVAE_(dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
    save_file(model.to(torch.bfloat16).state_dict(), path)


def write_t5(path):
    torch.manual_seed(0)
    torch.save(umt5_xxl(encoder_only=True).to(torch.bfloat16).state_dict(), path)


def write_tokenizer(hf_home):
    repository = hf_home / "hub" / "models--Wan-AI--Wan2.1-T2V-14B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *letters]
    assert len(pieces) <= T5["vocab_size"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(rank)) for rank, piece in enumerate(pieces)], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = T5TokenizerFast(tokenizer_object=tokenizer, extra_ids=0)
    fast.save_pretrained(repository / "snapshots" / REVISION / "google" / "umt5-xxl")


def main(folder):
    write_dit(folder / "t2v_high.safetensors", "t2v-A14B", seed=1)
    write_dit(folder / "t2v_low.safetensors", "t2v-A14B", seed=2)
    write_dit(folder / "i2v_high.safetensors", "i2v-A14B", seed=3)
    write_dit(folder / "i2v_low.safetensors", "i2v-A14B", seed=4)
    write_dit(folder / "wan21_t2v.safetensors", "t2v-14B", seed=5)
    write_vae(folder / "vae.safetensors")
    write_t5(folder / "t5.pth")
    write_tokenizer(folder / "hf_home")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
