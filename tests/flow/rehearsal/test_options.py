"""What the stand-ins accept: exactly what the pinned programs do."""

from __future__ import annotations

import pytest

from .bench import Bench


@pytest.mark.parametrize("launch", [False, True], ids=["plain", "accelerate"])
def test_an_unknown_option_is_refused_as_argparse_does(cached: Bench, launch: bool) -> None:
    done = cached.train("--netwrk_dim", "8", launch=launch)
    assert done.returncode == 2
    assert "usage: wan_train_network.py [-h]" in done.stderr
    assert done.stderr.endswith("wan_train_network.py: error: unrecognized arguments: --netwrk_dim 8\n")
    assert not cached.out.exists()


def test_the_pin_decides_which_options_exist(cached: Bench) -> None:
    assert cached.train("--save_precision", "bf16").returncode == 0
    done = cached.train("--save_precision", "bf16", WAN22LORA_PIN="article")
    assert done.returncode == 2
    assert "unrecognized arguments: --save_precision bf16" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--network_dim", "many"), "argument --network_dim: invalid int value: 'many'"),
        (("--task", "t2v"), "argument --task: invalid choice: 't2v'"),
        (("--lr_warmup_steps", "few"), "argument --lr_warmup_steps: 'few' is not an int or float"),
        (("--lr_warmup_steps", "x%"), "argument --lr_warmup_steps: 'x%' is not a valid percentage"),
    ],
)
def test_a_wrong_value_is_refused(cached: Bench, options: tuple[str, ...], message: str) -> None:
    done = cached.train(*options)
    assert done.returncode == 2
    assert message in done.stderr


def test_required_options_are_missed(bench: Bench) -> None:
    done = bench.run(bench.argv("wan_cache_text_encoder_outputs", "--dataset_config", bench.config))
    assert done.returncode == 2
    assert "the following arguments are required: --t5" in done.stderr


def test_an_option_of_accelerate_that_is_not_for_one_process_is_refused(cached: Bench) -> None:
    argv = cached.train_argv(launch=True)
    argv.insert(argv.index("--num_processes"), "--use_deepspeed")
    done = cached.run(argv)
    assert done.returncode == 2
    assert "Accelerate launch command: error:" in done.stderr


def test_accelerate_misses_its_configuration_file(cached: Bench) -> None:
    argv = cached.train_argv(launch=True)
    argv[argv.index("--num_processes") : argv.index("--num_processes")] = ["--config_file", "accelerate.yaml"]
    done = cached.run(argv)
    assert done.returncode == 1
    assert "FileNotFoundError: The passed configuration file `accelerate.yaml` does not exist." in done.stderr
    (cached.folder / "accelerate.yaml").write_text("compute_environment: LOCAL_MACHINE\n")
    assert cached.run(argv).returncode == 0


def test_a_training_option_may_come_from_a_file_whose_typos_nobody_notices(cached: Bench) -> None:
    (cached.folder / "options.toml").write_text("[training]\noutput_name = 'from_file'\nnetwrk_dim = 8\n")
    done = cached.train("--config_file", "options", without=("--output_name",))
    assert done.returncode == 0
    assert (cached.out / "from_file.safetensors").exists()
    done = cached.train("--config_file", "elsewhere")
    assert done.returncode == 1
    assert "elsewhere.toml not found." in done.stderr


@pytest.mark.parametrize("argv", [(), ("python",), ("python", "train.py"), ("python", "-m", "accelerate.commands.env")])
def test_a_command_of_another_program_is_not_rehearsed(bench: Bench, argv: tuple[str, ...]) -> None:
    done = bench.run([*bench.argv("")[:3], *argv])
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m wan22lora.rehearsal")


def test_no_heavy_module_is_imported(cached: Bench) -> None:
    code = (
        "import sys; sys.argv = sys.argv[:1]; from wan22lora.rehearsal import __main__, cache, train, launcher;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'numpy', 'rich', 'pydantic', 'av'}))"
    )
    done = cached.run([cached.argv("")[0], "-c", code])
    assert done.stdout == "[]\n"
