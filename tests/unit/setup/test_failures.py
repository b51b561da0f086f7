from __future__ import annotations

import pytest

from wan22lora.setup.failures import likely_cause


@pytest.mark.parametrize(
    ("line", "cause", "fix"),
    [
        ("fatal: unable to access 'https://…': Could not resolve host: github.com", "reach the network", "connection"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "full", "df -h"),
        ("The virtual environment was not created … ensurepip is not available.", "environments", "python3-venv"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "broke off", "again"),
        ("error: RPC failed; curl 92 HTTP/2 stream 0 was not closed cleanly", "broke off", "again"),
        ("fatal: remote error: upload-pack: not our ref 30c658c", "pinned commit", "--musubi-repo"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "address", "--musubi"),
        ("ERROR: No matching distribution found for torch==2.7.1", "no such package", "uname -m"),
        ("OSError: CUDA_HOME environment variable is not set.", "compiler", "sdpa"),
        ("SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer", "trusted", "ca-cert"),
        ("error: Your local changes to the following files would be overwritten by checkout", "your own", "--musubi"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/x'", "cannot be written", "--musubi"),
    ],
)
def test_known_words_lead_to_a_cause_and_a_way_out(line: str, cause: str, fix: str) -> None:
    finding = likely_cause(1, ["Collecting torch", line, "note: this is an issue with something"])
    assert finding is not None
    assert cause in finding.message
    assert fix in finding.fix


def test_a_killed_command_points_at_the_memory() -> None:
    finding = likely_cause(137, [])
    assert finding is not None
    assert "memory" in finding.message


def test_unknown_words_are_left_to_speak_for_themselves() -> None:
    assert likely_cause(1, ["something odd"]) is None
