from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .bench import SIZES, Bench


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The caches of `bench`, made once: no name or header in them depends on the folder."""
    bench = make_bench(tmp_path_factory.mktemp("caches"))
    assert bench.cache_latents().returncode == 0
    assert bench.cache_text().returncode == 0
    return bench.cache


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Six pictures in three buckets, nothing cached."""
    return make_bench(tmp_path)


@pytest.fixture
def cached(bench: Bench, caches: Path) -> Bench:
    """The same with full caches."""
    shutil.copytree(caches, bench.cache)
    return bench


def make_bench(folder: Path) -> Bench:
    bench = Bench(folder)
    for index, size in enumerate(SIZES):
        bench.add_picture(f"a{index}", size, f"caption {index}")
    bench.write_config()
    return bench
