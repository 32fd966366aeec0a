import numpy as np
import pytest

from mmdetr.datasets.transforms.memory_layout import channels_first, contiguous

IMG = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
VIEWS = {
    'whole': IMG,
    'mirrored': IMG[:, ::-1],
    'upside down': IMG[::-1],
    'turned': IMG[::-1, ::-1],
    'crop': IMG[1:4, 2:6],
    'mirrored crop': IMG[:, ::-1][1:4, 2:6],
    'crop of every second column': IMG[:, ::2],
    'other channel order': IMG[..., ::-1],
    'transposed': IMG.transpose(1, 0, 2),
    'one column': IMG[:, :1],
    'one channel': IMG[..., :1],
    'one mirrored channel': IMG[:, ::-1, :1],
}


@pytest.mark.parametrize('name', VIEWS)
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_equals_numpy(name, dtype):
    view = VIEWS[name].astype(dtype) if dtype is not np.uint8 else VIEWS[name]
    before = view.copy()
    planes = channels_first(view)
    np.testing.assert_array_equal(planes, np.ascontiguousarray(view.transpose(2, 0, 1)))
    assert planes.flags.c_contiguous
    assert planes.dtype == dtype
    assert not np.shares_memory(planes, view)
    copied = contiguous(view)
    np.testing.assert_array_equal(copied, before)
    assert copied.flags.c_contiguous
    np.testing.assert_array_equal(view, before)


def test_a_contiguous_image_is_not_copied():
    assert contiguous(IMG) is IMG
