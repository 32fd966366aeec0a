import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdetr.datasets.transforms import LoadAnnotations, LoadImageFromFile, UnreadableImageError

ORIENTATION = 0x0112
rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def load(path, exif_frame: str = 'shown', **stated) -> np.ndarray:
    return LoadImageFromFile(exif_frame=exif_frame)(dict(img_path=str(path), **stated))['img']


def authors(path) -> np.ndarray:
    """The reference: PIL.Image.open(f).convert('RGB'), here in BGR order."""
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))[..., ::-1]


def alpha(mode: str) -> Image.Image:
    bands = len(mode)
    return Image.merge(mode, [Image.fromarray(band) for band in
                              rng.integers(0, 256, (bands, 6, 9), dtype=np.uint8)])  # fmt: skip


IMAGES = {
    'rgb.png': Image.fromarray(RGB),
    'rgb.jpg': Image.fromarray(RGB),
    'grey.png': Image.fromarray(RGB[..., 0]),
    'grey.jpg': Image.fromarray(RGB[..., 0]),
    'palette.png': Image.fromarray(RGB).quantize(8),
    'one_bit.png': Image.fromarray(RGB[..., 0]).convert('1'),
    'rgba.png': alpha('RGBA'),
    'la.png': alpha('LA'),
    'cmyk.jpg': Image.fromarray(RGB).convert('CMYK'),
    'rgb.webp': Image.fromarray(RGB),
    'rgb.bmp': Image.fromarray(RGB),
}


@pytest.mark.parametrize('name', IMAGES)
def test_pixels_are_the_authors(tmp_path, name):
    path = tmp_path / name
    IMAGES[name].save(path)
    results = LoadImageFromFile()(dict(img_path=str(path), width=9, height=6))
    np.testing.assert_array_equal(results['img'], authors(path))
    assert results['img'].dtype == np.uint8
    assert results['img'].flags.writeable
    assert results['img'].flags.c_contiguous
    assert results['img_shape'] == results['ori_shape'] == (6, 9)


def test_palette_with_transparency(tmp_path):
    path = tmp_path / 'palette.png'
    Image.fromarray(RGB).quantize(8).save(path, transparency=2)
    np.testing.assert_array_equal(load(path), authors(path))


@pytest.mark.parametrize(
    ('suffix', 'pixels'),
    [
        ('.png', rng.integers(0, 65536, (6, 9), dtype=np.uint16)),
        ('.tiff', rng.integers(0, 65536, (6, 9), dtype=np.int32)),
        ('.tiff', rng.random((6, 9), dtype=np.float32)),
    ],
)
def test_deep_images_are_refused_rather_than_clipped_to_white(tmp_path, suffix, pixels):
    path = tmp_path / f'deep{suffix}'
    Image.fromarray(pixels).save(path)
    with pytest.raises(UnreadableImageError, match=r'deep.*8 bits per channel'):
        load(path)


@pytest.mark.parametrize(
    ('layout', 'suffix'),
    [
        *(('grey', suffix) for suffix in ('.png', '.tiff', '.pgm', '.jp2')),
        *(('colour', suffix) for suffix in ('.png', '.tiff', '.ppm', '.jp2')),
        *(('alpha', suffix) for suffix in ('.png', '.tiff')),
    ],
)
def test_sixteen_bits_are_refused_in_every_layout(tmp_path, layout, suffix):
    """Pillow opens deep colour as 8-bit and keeps the upper bits: black, for a 12-bit camera."""
    shape = dict(grey=(64, 64), colour=(64, 64, 3), alpha=(64, 64, 4))[layout]
    for depth, refused in ((np.uint16, True), (np.uint8, False)):
        path = tmp_path / f'{depth.__name__}{suffix}'
        assert cv2.imwrite(str(path), rng.integers(0, 256, shape).astype(depth))
        if refused:
            with pytest.raises(UnreadableImageError, match='8 bits per channel'):
                load(path)
        else:
            np.testing.assert_array_equal(load(path), authors(path))


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'proc', 'device'])
def test_only_regular_files_are_read(tmp_path, kind):
    path = tmp_path / 'image.png'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    else:
        path.symlink_to({'proc': '/proc/self/mem', 'device': '/dev/zero'}[kind])
    with pytest.raises(UnreadableImageError, match=r'image\.png.*(regular|empty)'):
        load(path)


def rotated(tmp_path, orientation: int, pixels: np.ndarray = RGB, suffix: str = '.png'):
    """A file that stores ``pixels`` and asks viewers to turn them."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f'turned{orientation}{suffix}'
    options = dict(lossless=True) if suffix == '.webp' else {}
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


# What a viewer makes of each orientation, as NumPy operations on the stored pixels.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize('orientation', UPRIGHT)
def test_exif_without_a_stated_size_is_obeyed(tmp_path, orientation):
    path = rotated(tmp_path, orientation)
    np.testing.assert_array_equal(load(path), UPRIGHT[orientation](RGB)[..., ::-1])


@pytest.mark.parametrize('orientation', [1, 5, 6, 7, 8])
def test_stated_size_of_the_stored_pixels_keeps_them(tmp_path, orientation):
    path = rotated(tmp_path, orientation)
    for frame in ('shown', 'stored'):
        img = load(path, exif_frame=frame, width=9, height=6)
        np.testing.assert_array_equal(img, authors(path))


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('suffix', ['.png', '.tiff', '.webp'])
@pytest.mark.parametrize('square', [False, True])
def test_the_option_decides_where_the_stated_size_does_not(tmp_path, orientation, suffix, square):
    """Oracle: the turns of UPRIGHT. A size is stated where it fits both frames."""
    pixels = RGB[:, :6] if square else RGB
    path = rotated(tmp_path, orientation, pixels, suffix)
    stated = dict(width=pixels.shape[1], height=6) if square or orientation < 5 else {}
    for frame, expected in (('shown', UPRIGHT[orientation](pixels)), ('stored', pixels)):
        img = load(path, exif_frame=frame, **stated)
        np.testing.assert_array_equal(img, expected[..., ::-1])


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_tiff_that_pillow_turns_by_itself(tmp_path, orientation):
    path = rotated(tmp_path, orientation, suffix='.tiff')
    np.testing.assert_array_equal(load(path, width=9, height=6), RGB[..., ::-1])
    upright = UPRIGHT[orientation](RGB)[..., ::-1]
    np.testing.assert_array_equal(load(path, width=6, height=9), upright)


@pytest.mark.parametrize('value', [0, 9])
def test_nonsense_in_the_tag_turns_nothing(tmp_path, value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    path = tmp_path / 'odd.png'
    Image.fromarray(RGB).save(path, exif=exif)
    np.testing.assert_array_equal(load(path), RGB[..., ::-1])


def test_unknown_frame():
    with pytest.raises(ValueError, match="exif_frame must be 'shown' or 'stored'"):
        LoadImageFromFile(exif_frame='upright')


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_stated_size_of_the_upright_image_turns_it(tmp_path, orientation):
    path = rotated(tmp_path, orientation)
    upright = UPRIGHT[orientation](RGB)[..., ::-1]
    np.testing.assert_array_equal(load(path, width=6, height=9), upright)


@pytest.mark.parametrize('orientation', [1, 6])
def test_neither_size_is_the_stated_one(tmp_path, orientation):
    path = rotated(tmp_path, orientation)
    with pytest.raises(UnreadableImageError, match=r'9x6 pixels.*annotation file.*says 18x12'):
        load(path, width=18, height=12)


def test_missing_and_broken_files_are_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(buffer, 'PNG')
    content = buffer.getvalue()
    files = {
        'missing.png': None,
        'empty.png': b'',
        'text.png': b'no image',
        'truncated.png': content[: len(content) // 2],
        'header.png': content[:20],
        'flipped.png': content[:40] + bytes(x ^ 255 for x in content[40:80]) + content[80:],
    }
    for name, data in files.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(UnreadableImageError, match=f'cannot read image .*{name}'):
            load(path)


def test_damaged_pixels_of_a_png_are_no_image(tmp_path):
    """Damage in the stream of pixels, where Pillow reads on and off."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(
        buffer, 'PNG'
    )
    content = buffer.getvalue()
    path = tmp_path / 'damaged.png'
    refused = 0
    for place in range(41, 600, 20):  # from the first byte of the compressed pixels on
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            authors(path)
        except OSError:
            refused += 1
            with pytest.raises(UnreadableImageError, match='cannot read image'):
                load(path)
    assert refused > 5


def test_annotations_without_crowd():
    instances = [
        dict(bbox=[1, 2, 3, 4], bbox_label=2, ignore_flag=0),
        dict(bbox=[0, 0, 9, 9], bbox_label=1, ignore_flag=1),
        dict(bbox=[5, 6, 7.5, 8], bbox_label=0, ignore_flag=0),
    ]
    results = LoadAnnotations()(dict(instances=instances))
    assert results['gt_bboxes'].tolist() == [[1, 2, 3, 4], [5, 6, 7.5, 8]]
    assert results['gt_bboxes'].dtype == np.float32
    assert results['gt_bboxes_labels'].tolist() == [2, 0]
    assert results['gt_bboxes_labels'].dtype == np.int64
    assert results['instances'] is instances
    assert len(instances) == 3


def test_no_annotations():
    results = LoadAnnotations()(dict(instances=[]))
    assert results['gt_bboxes'].shape == (0, 4)
    assert results['gt_bboxes_labels'].shape == (0,)
