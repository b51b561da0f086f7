"""What an epoch takes of a bucket, in words."""

from __future__ import annotations

import pytest

from wan22lora.dataset.loads import BucketLoad


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (BucketLoad((960, 960), 1, 1, 1), "960×960: 1 in 1 batch"),
        (BucketLoad((832, 480, 49), 3, 6, 3), "832×480, 49 frames: 6 in 3 batches"),
        (BucketLoad((832, 480, 1), 3, 3000, 1500), "832×480, 1 frame: 3,000 in 1,500 batches"),
    ],
)
def test_a_bucket_is_told_with_what_it_gives(load: BucketLoad, told: str) -> None:
    assert str(load) == told
