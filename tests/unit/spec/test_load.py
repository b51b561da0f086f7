from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.errors import Finding, SpecError
from wan22lora.musubi.options import IN_OUR_WORDS
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Spec

Load = Callable[[str], Spec]
Refuse = Callable[[str], list[Finding]]
SHORT = "name: paper\npreset: style\nimages: ./pictures\n"


def test_a_name_a_preset_and_a_folder_are_enough(load: Load, tmp_path: Path) -> None:
    spec = load(SHORT)
    assert [expert.name for expert in spec.experts] == ["high", "low"]
    assert spec.datasets[0].directory == tmp_path / "pictures"
    assert spec.folder == tmp_path / "runs" / "paper"
    assert spec.experts[0].settings.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("task", "ranges"),
    [
        ("t2v-A14B", [(875, 1000), (0, 875)]),
        ("i2v-A14B", [(900, 1000), (0, 900)]),
        ("t2v-14B", [None]),
    ],
)
def test_each_task_divides_the_timesteps_at_its_own_boundary(
    load: Load, task: str, ranges: list[tuple[int, int] | None]
) -> None:
    spec = load(f"{SHORT}task: {task}\n")
    assert [expert.settings.timestep_range for expert in spec.experts] == ranges


def test_one_expert_can_differ_in_any_setting(load: Load) -> None:
    spec = load(
        """
        name: paper
        preset: style
        images: pictures
        train: {learning_rate: 1e-4}
        experts:
          high: {rank: 8, steps: 500, timestep_range: [880, 1000], checkpoint: other.safetensors}
        """
    )
    high, low = (expert.settings for expert in spec.experts)
    assert (high.learning_rate, high.rank, high.epochs, high.steps) == (1e-4, 8, None, 500)
    assert high.timestep_range == (880, 1000)
    assert high.checkpoint is not None
    assert Path(high.checkpoint).is_absolute()
    assert (low.learning_rate, low.rank, low.epochs, low.steps) == (1e-4, 16, 100, None)


def test_steps_in_run_yaml_replace_the_epochs_of_the_preset(load: Load) -> None:
    settings = load(f"{SHORT}train: {{steps: 900, save_every_steps: 300}}\n").experts[0].settings
    assert (settings.epochs, settings.steps) == (None, 900)
    assert (settings.save_every_epochs, settings.save_every_steps) == (None, 300)


def test_another_scheduler_leaves_nothing_of_the_presets_scheduler_behind(load: Load) -> None:
    settings = load(f"{SHORT}train: {{lr_scheduler: cosine}}\n").experts[0].settings
    assert settings.lr_scheduler_power is None


def test_null_takes_a_value_of_the_preset_away(load: Load) -> None:
    assert load(f"{SHORT}train: {{save_precision: null}}\n").experts[0].settings.save_precision is None


def test_numbers_follow_yaml_1_2(load: Load) -> None:
    settings = load(f"{SHORT}train: {{learning_rate: 3e-4}}\n").experts[0].settings
    assert settings.learning_rate == 0.0003


def test_paths_know_home_and_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data/sets")
    assert load("name: a\npreset: style\nimages: $DATA/x\n").datasets[0].directory == Path("/data/sets/x")
    assert load("name: a\npreset: style\nimages: ~/x\n").datasets[0].directory == Path.home() / "x"


def test_an_unset_variable_is_named(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    (finding,) = refuse("name: a\npreset: style\nimages: ${NOWHERE}/x\n")
    assert finding.where == "run.yaml:3:1 images"
    assert "NOWHERE" in finding.message


def test_several_datasets_share_data_and_differ(load: Load) -> None:
    spec = load(
        """
        name: a
        preset: style
        data: {resolution: 512, batch_size: 2}
        datasets:
          - images: faces
            repeats: 3
          - image_jsonl: list.jsonl
            resolution: [640, 384]
        """
    )
    faces, listed = spec.datasets
    assert (faces.settings.resolution, faces.settings.repeats, faces.settings.batch_size) == (512, 3, 2)
    assert (listed.settings.resolution, listed.jsonl is not None) == ((640, 384), True)


def test_a_misspelt_key_is_answered_with_the_right_one_and_its_place(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: style\nimages: x\ntrain:\n  learning_rat: 1e-4\n")
    assert finding.where == "run.yaml:5:3 train.learning_rat"
    assert finding.fix == "did you mean `learning_rate`?"


def test_a_key_in_the_wrong_place_is_answered_with_the_right_place(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: style\nimages: x\nlearning_rate: 1e-4\n")
    assert finding.fix == "did you mean `train.learning_rate`?"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train: {max_train_steps: 100}", "steps"),
        ("train: {network-alpha: 16}", "alpha"),
        ("train: {discrete_flow_shift: 3}", "timestep_shift"),
        ("train: {lr: 1e-4}", "learning_rate"),
        ("network_dim: 16", "train.rank"),
        ("data: {enable_bucket: true}", "bucket"),
        ("image_directory: x", "images"),
        ("num_repeats: 2", "data.repeats"),
    ],
)
def test_a_key_in_musubis_words_is_answered_with_ours(refuse: Refuse, written: str, meant: str) -> None:
    (finding,) = refuse(f"name: a\npreset: style\nvideos: x\n{written}\n")
    assert finding.fix == f"did you mean `{meant}`?"


@pytest.mark.parametrize("written", ["train: {scale_weight_norms: 1}", "scale_weight_norms: 1"])
def test_a_key_that_only_musubi_has_is_answered_with_where_it_goes(refuse: Refuse, written: str) -> None:
    (finding,) = refuse(f"name: a\npreset: style\nimages: x\n{written}\n")
    assert finding.fix == "an option of musubi's own: `musubi: {train: {scale_weight_norms: …}}`"


def test_every_word_of_musubis_that_is_answered_is_answered_with_a_key_that_there_is(refuse: Refuse) -> None:
    for theirs, ours in IN_OUR_WORDS.items():
        (finding,) = refuse(f"name: a\npreset: style\nvideos: x\n{theirs}: 1\n")
        assert finding.fix.removesuffix("`?").rpartition("`")[2].rpartition(".")[2] == ours


def test_all_errors_come_at_once(refuse: Refuse) -> None:
    findings = refuse(
        """
        name: a b
        preset: stile
        imagse: x
        train: {rank: many, save_every_steps: 0, timestep_sampling: sigma}
        """
    )
    places = {finding.where.split()[-1] for finding in findings}
    assert places == {
        "name",
        "preset",
        "imagse",
        "train.rank",
        "train.save_every_steps",
        "train.timestep_sampling",
    }


def test_wrong_keys_do_not_hide_what_the_rules_say_of_the_rest(refuse: Refuse) -> None:
    findings = refuse(f"{SHORT}train: {{alpha: 1, learning_rat: 1e-4, seed: -1}}\n")
    assert [finding.where.split()[-1] for finding in findings] == ["train.alpha", "train.learning_rat", "train.seed"]


@pytest.mark.parametrize("line", ["imagse: x", "images: 3", "images: ''"])
def test_pictures_that_are_named_wrongly_are_not_missing_as_well(refuse: Refuse, line: str) -> None:
    (finding,) = refuse(f"name: a\npreset: style\n{line}\n")
    assert finding.where.startswith("run.yaml:3:1 ")


def test_a_run_without_pictures_is_told_how_to_name_them(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: style\n")
    assert str(finding).startswith("run.yaml:1:1 images: is missing: `images:`, `videos:` or `datasets:`")


def test_a_value_that_fits_no_kind_is_told_once(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}train: {{optimizer_args: {{betas: {{first: 0.9}}}}}}\n")
    assert finding.where == "run.yaml:4:26 train.optimizer_args.betas"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("hardware: 24GB", "did you mean `24gb`?"),
        ("hardware: 24", "did you mean `24gb`?"),
        ("speed: Fats", "did you mean `fast`?"),
        ("parallel: yes", "What several GPUs are for"),
        ("trigger: 1234", 'in quotes it is one: trigger: "1234"'),
        ("trigger: true", 'in quotes it is one: trigger: "true"'),
        ("train: {rank: '16'}", "The LoRA's rank"),
    ],
)
def test_a_value_that_cannot_be_is_answered_with_the_one_that_was_meant(refuse: Refuse, line: str, fix: str) -> None:
    (finding,) = refuse(f"{SHORT}{line}\n")
    assert finding.fix.startswith(fix)
    assert len(finding.fix) < 200


def test_a_path_of_windows_is_answered_with_what_wsl_calls_it(refuse: Refuse) -> None:
    (finding,) = refuse("name: a\npreset: style\nimages: C:\\Users\\me\\my pics\n")
    assert finding.message == "is a path of Windows; under WSL it is /mnt/c/Users/me/my pics"
    (finding,) = refuse('name: a\npreset: style\nimages: "C:\\Users\\me"\n')
    assert finding.fix == 'within "…" a backslash begins an escape; paths need no quotes'


def test_a_key_that_is_written_twice_is_named(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}name: b\n")
    assert (finding.where, finding.message) == ("run.yaml:4:1", "`name` is written twice")


def test_a_warning_beside_errors_is_told_as_one(load: Load) -> None:
    with pytest.raises(SpecError) as caught:
        load("name: a\npreset: article-wan22\nimages: x\ntrain: {alpha: 1}\n")
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines if "min_lr_ratio" in line] == ["warning:"]
    assert [line.split()[0] for line in lines if "train.alpha" in line] == ["run.yaml:4:9"]


def test_a_list_that_is_too_long_is_told_in_plain_words(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}data: {{resolution: [960, 544, 3]}}\n")
    assert finding.message.startswith("must be a whole number or must have at most 2 values")


@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_run_does_not_live_at_the_top_of_a_disk(tmp_path: Path, rehearsal: bool) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{SHORT}folder: /\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path, rehearsal=rehearsal)
    (finding,) = caught.value.findings
    assert finding.where == "run.yaml:4:1 folder"


def test_a_finding_names_the_file_and_line_that_a_value_came_from(refuse: Refuse) -> None:
    (finding,) = refuse(f"{SHORT}task: t2v-14B\nmodels: {{low: x}}\n")
    assert finding.where == "run.yaml:5:10 models.low"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name: [", "run.yaml:1:8"),
        ("name: a\nname: b\n", "run.yaml:2:1"),
        ("name: a\n\tpreset: style\n", "run.yaml:2:1"),
    ],
)
def test_broken_yaml_is_pointed_at(refuse: Refuse, text: str, place: str) -> None:
    (finding,) = refuse(text)
    assert finding.where == place


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_a_file_without_keys_is_refused_in_plain_words(load: Load, text: str) -> None:
    with pytest.raises(SpecError):
        load(text)


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "run.yaml")
    assert "wan22lora init" in caught.value.fix


def test_hardware_changes_memory_settings_only(load: Load) -> None:
    usual = load(f"{SHORT}hardware: 80gb\ntrainer: plain\n").experts[0].settings
    small = load(f"{SHORT}hardware: 16gb\ntrainer: plain\n").experts[0].settings
    memory = {"blocks_to_swap", "gradient_checkpointing", "gradient_checkpointing_cpu_offload"}
    assert usual.model_dump(exclude=memory) == small.model_dump(exclude=memory)
    assert (small.blocks_to_swap or 0) > (usual.blocks_to_swap or 0)


def test_the_users_memory_settings_win_over_the_hardware(load: Load) -> None:
    settings = load(f"{SHORT}hardware: 16gb\ntrain: {{blocks_to_swap: 3}}\n").experts[0].settings
    assert settings.blocks_to_swap == 3


@pytest.mark.parametrize(
    ("gpu_gib", "hardware"), [(15.6, "16gb"), (23.5, "24gb"), (44.4, "48gb"), (79.2, "80gb"), (139.8, "80gb")]
)
def test_for_musubis_own_program_auto_takes_the_largest_class_that_fits(
    tmp_path: Path, gpu_gib: float, hardware: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{SHORT}trainer: plain\n")
    assert load_spec(path, gpu_free_gib=lambda: gpu_gib).hardware == hardware


def test_auto_plans_for_what_is_free_less_cudas_own_part(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(SHORT)
    spec = load_spec(path, gpu_free_gib=lambda: 31.7)
    assert spec.hardware == "auto"
    assert spec.usable_gib == pytest.approx(30.9)
    assert spec.experts[0].settings.blocks_to_swap is None
    (warned,) = [note for note in load_spec(path, gpu_free_gib=lambda: 9.0).notes if "free" in note.message]
    assert "9.0 GiB of the GPU are free" in warned.message


@pytest.mark.parametrize(
    "text",
    [
        "&a\nname: x\ntrain: *a\n",
        f"name: {'[' * 400}{']' * 400}\n",
        f"{SHORT}train: {{rank: {'9' * 5000}}}\n",
        f"{SHORT}trigger: !!int word\n",
        f"{SHORT}trigger: !!int\n",
        f"{SHORT}train: {{fp8_base: !!bool maybe}}\n",
        "name: a\npreset: style\nimages: ~no.such.user/x\n",
        'name: a\npreset: style\nimages: "a\\0b"\n',
        f"{SHORT}train: {{lr_scheduler_power: .inf}}\n",
        f"{SHORT}data: {{resolution: 100000000}}\n",
    ],
)
def test_no_yaml_however_odd_ends_in_anything_but_a_spec_error(load: Load, text: str) -> None:
    with pytest.raises(SpecError):
        load(text)


@pytest.mark.parametrize("value", ["true", '"16"', "1.5"])
def test_only_a_whole_number_is_a_whole_number(refuse: Refuse, value: str) -> None:
    (finding,) = refuse(f"{SHORT}train: {{rank: {value}}}\n")
    assert "must be a whole number" in finding.message


@pytest.mark.parametrize("value", ["yes", "1", '"true"'])
def test_only_true_and_false_are_yes_and_no(refuse: Refuse, value: str) -> None:
    (finding,) = refuse(f"{SHORT}train: {{fp8_base: {value}}}\n")
    assert "must be true or false" in finding.message


def test_a_source_without_a_value_counts_as_left_out(load: Load) -> None:
    assert len(load("name: a\npreset: style\nimages:\ndatasets: [{images: x}]\n").datasets) == 1


def test_relative_paths_in_a_list_of_options_start_at_run_yaml_too(load: Load, tmp_path: Path) -> None:
    spec = load(f"{SHORT}musubi: {{train: {{base_weights: [a.safetensors, b.safetensors]}}}}\n")
    assert spec.experts[0].options["base_weights"] == [str(tmp_path / f"{name}.safetensors") for name in "ab"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "run.yaml: is a folder"),
        (b"name: \xff\xfe", "run.yaml: is not a text file in UTF-8: byte 7 cannot be read"),
        (b"name: a\n\x00\x01", "run.yaml is not a YAML file: line 2 holds the character U+0000"),
    ],
)
def test_what_is_no_text_file_is_told_without_the_words_of_a_library(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "run.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert told in str(caught.value)
    assert not any(words in str(caught.value) for words in ("Errno", "codec", "unicode string"))


def test_a_run_yaml_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").symlink_to("/dev/zero")
    with pytest.raises(SpecError, match="over 1,000,000 characters"):
        load_spec(tmp_path / "run.yaml", gpu_free_gib=lambda: None)
