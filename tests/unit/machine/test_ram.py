from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.machine.ram import Ram, in_container, read_ram

GB = 10**9
UNLIMITED = 9223372036854771712


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of 128 GB with 100 GB available, without control groups."""
    lay(tmp_path, "proc/meminfo", f"MemTotal: {128 * GB // 1024} kB\nMemAvailable: {100 * GB // 1024} kB\n")
    return tmp_path


def lay(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def version_2(root: Path, group: str, *, limit: object, used: int, cached: int = 0) -> None:
    """A control group of version 2, and this process in it."""
    folder = f"sys/fs/cgroup/{group}"
    lay(root, "proc/self/cgroup", f"0::/{group}\n")
    lay(root, f"{folder}/memory.max", f"{limit}\n")
    lay(root, f"{folder}/memory.current", f"{used}\n")
    lay(root, f"{folder}/memory.stat", f"anon {used - cached}\ninactive_file {cached}\nactive_file 0\n")


def version_1(root: Path, folder: str, *, limit: int, used: int, cached: int = 0) -> None:
    lay(root, f"sys/fs/cgroup/memory/{folder}/memory.limit_in_bytes", f"{limit}\n")
    lay(root, f"sys/fs/cgroup/memory/{folder}/memory.usage_in_bytes", f"{used}\n")
    lay(root, f"sys/fs/cgroup/memory/{folder}/memory.stat", f"cache 1\ntotal_active_file {cached}\n")


def close(ram: Ram | None, total: float, available: float, *, limited: bool) -> bool:
    assert ram is not None
    return (round(ram.total / GB), round(ram.available / GB), ram.limited) == (total, available, limited)


def test_without_control_groups_it_is_the_machines(root: Path) -> None:
    assert close(read_ram(root), 128, 100, limited=False)


def test_a_containers_limit_counts_and_not_the_machine(root: Path) -> None:
    version_2(root, "", limit=32 * GB, used=2 * GB)
    assert close(read_ram(root), 32, 30, limited=True)


def test_files_that_the_kernel_merely_keeps_count_as_free(root: Path) -> None:
    """After a download of 60 GB a container looks full, and is not."""
    version_2(root, "", limit=64 * GB, used=63 * GB, cached=60 * GB)
    assert close(read_ram(root), 64, 61, limited=True)


def test_the_strictest_group_above_decides(root: Path) -> None:
    version_2(root, "kube/pod/container", limit="max", used=3 * GB)
    lay(root, "sys/fs/cgroup/kube/memory.max", f"{48 * GB}\n")
    lay(root, "sys/fs/cgroup/kube/memory.current", f"{40 * GB}\n")
    assert close(read_ram(root), 48, 8, limited=True)


def test_without_a_limit_in_any_group_it_is_the_machines(root: Path) -> None:
    version_2(root, "user.slice", limit="max", used=3 * GB)
    assert close(read_ram(root), 128, 100, limited=False)


def test_a_limit_above_the_machines_memory_is_none(root: Path) -> None:
    version_2(root, "", limit=500 * GB, used=2 * GB)
    assert close(read_ram(root), 128, 100, limited=False)


def test_version_1_with_the_path_of_the_host(root: Path) -> None:
    """Docker without a namespace for control groups: the path is not there, the limit lies at the mount."""
    lay(root, "proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    version_1(root, ".", limit=24 * GB, used=5 * GB, cached=3 * GB)
    assert close(read_ram(root), 24, 22, limited=True)


def test_version_1_says_no_limit_with_a_large_number(root: Path) -> None:
    lay(root, "proc/self/cgroup", "4:memory:/a\n")
    version_1(root, "a", limit=UNLIMITED, used=5 * GB)
    version_1(root, ".", limit=UNLIMITED, used=50 * GB)
    assert close(read_ram(root), 128, 100, limited=False)


def test_version_2_beside_version_1(root: Path) -> None:
    lay(root, "proc/self/cgroup", "1:cpu:/\n0::/job\n")
    lay(root, "sys/fs/cgroup/unified/job/memory.max", f"{16 * GB}\n")
    lay(root, "sys/fs/cgroup/unified/job/memory.current", "0\n")
    assert close(read_ram(root), 16, 16, limited=True)


def test_a_path_that_leaves_the_namespace_stays_inside_the_mount(root: Path) -> None:
    version_2(root, "", limit=32 * GB, used=0)
    lay(root, "proc/self/cgroup", "0::/../../other\n")
    assert close(read_ram(root), 32, 32, limited=True)


def test_more_used_than_allowed_leaves_nothing(root: Path) -> None:
    version_2(root, "", limit=8 * GB, used=9 * GB)
    assert close(read_ram(root), 8, 0, limited=True)


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert read_ram(tmp_path) is None


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40), st.binary(max_size=80))
def test_damaged_files_are_no_reason_to_fail(
    tmp_path_factory: pytest.TempPathFactory, meminfo: bytes, group: bytes, limit: bytes, stat: bytes
) -> None:
    root = tmp_path_factory.mktemp("root")
    for path, content in (
        ("proc/meminfo", b"MemTotal: 1000 kB\n" + meminfo),
        ("proc/self/cgroup", b"0::/\n" + group),
        ("sys/fs/cgroup/memory.max", limit),
        ("sys/fs/cgroup/memory.stat", stat),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    ram = read_ram(root)
    assert ram is None or ram.available >= 0


def test_containers_are_known_by_their_marks(tmp_path: Path) -> None:
    assert not in_container(tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert in_container(tmp_path)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux only")
def test_this_machines_own_is_read() -> None:
    ram = read_ram()
    assert ram is not None
    assert 0 < ram.available <= ram.total
