"""Findings on image files that nobody has to decode: turned photographs, copies, no files."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from mmdetr.utils.text import shorten

from .check import (
    SUSPICIOUS_SHARE,
    Finding,
    check_boxes,
    image_infos,
    rate_bad_images,
    suspicions_of,
)
from .image_scan import ImageScan, bad_images, scan_images, undecided
from .wrappers import pipeline_steps


def check_scan(leaves: Sequence[tuple[Any, str]]) -> list[Finding]:
    """Look over the files of all datasets at once, and at what their boxes are.

    Args:
        leaves: Of :func:`~mmdetr.datasets.check.named_leaves`, of training and evaluation.
    """
    infos = {
        name: [info for info in image_infos(leaf) if 'img_path' in info] for leaf, name in leaves
    }
    scan = scan_images([info['img_path'] for each in infos.values() for info in each])
    findings = []
    for leaf, name in leaves:
        groups = undecided(scan, infos[name])
        findings += check_boxes(leaf, name, know_frames='stored' not in groups)
        findings += _check_frames(leaf, name, groups)
        findings += _check_kinds(leaf, name, scan, infos[name])
    return findings + _check_copies(infos, scan)


def _check_frames(dataset: Any, name: str, groups: dict[str, list[str]]) -> list[Finding]:
    """Say how photographs with an EXIF orientation are taken."""
    findings = []
    steps = pipeline_steps(dataset) or []
    frame = next((s.exif_frame for s in steps if hasattr(s, 'exif_frame')), 'shown')
    if groups.get('undecided'):
        other = 'stored' if frame == 'shown' else 'shown'
        findings.append(
            Finding(
                'warning',
                f'{name}: {len(groups["undecided"])} images have an EXIF orientation, and their '
                f'stated size does not say which frame the boxes are in: they are taken as {frame}'
                f'{" (turned as viewers do)" if frame == "shown" else ""}. If the boxes were drawn '
                f"otherwise, set exif_frame='{other}' of LoadImageFromFile: "
                + shorten(groups['undecided']),
            )
        )
    if groups.get('stored'):
        findings.append(_check_stored(dataset, name, groups['stored']))
    return findings


def _check_stored(dataset: Any, name: str, paths: list[str]) -> Finding:
    lying = set(suspicions_of(dataset).exchanged_sizes) & set(paths)
    if len(lying) > SUSPICIOUS_SHARE * len(paths):
        return Finding(
            'error',
            f'{name}: the file states the stored size of {len(paths)} images with an EXIF '
            f'orientation, but boxes of {len(lying)} leave it and fit the image as viewers show it '
            "(Label Studio's export does so). Exchange width and height of such images in "
            f'{dataset.ann_file}: {shorten(sorted(lying))}',
        )
    return Finding(
        'warning',
        f'{name}: {len(paths)} images with an EXIF orientation are taken as stored, since the '
        "annotation file states that size; use turns such images, unless exif_frame='stored' of "
        f'LoadImageFromFile in the test pipeline: {shorten(paths)}',
    )


def _check_kinds(dataset: Any, name: str, scan: ImageScan, infos: list[dict]) -> list[Finding]:
    findings = []
    wrong = bad_images(scan, dataset, infos)
    bad = [path for info in infos if (path := info['img_path']) in wrong]
    if bad:
        findings.append(
            Finding(
                rate_bad_images(dataset, len(bad), len(bad) == len(infos)),
                f'{name}: {len(bad)} of {len(infos)} images cannot be used: '
                + shorten((f'{path}: {wrong[path]}' for path in bad), separator='; '),
            )
        )
    several = [
        f'{path} ({n})' for info in infos if (n := scan.several.get(path := info['img_path']))
    ]
    if several:
        findings.append(
            Finding(
                'warning',
                f'{name}: {len(several)} image files hold several pictures, of which the first is '
                f'used: {shorten(several)}',
            )
        )
    counts = Counter(info['img_path'] for info in infos)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        findings.append(
            Finding(
                'warning',
                f'{name}: {len(twice)} image files are listed more than once, each time with its '
                f'own annotations: {shorten(twice)}',
            )
        )
    return findings


def _check_copies(infos: dict[str, list[dict]], scan: ImageScan) -> list[Finding]:
    """Find images that stand more than once in a dataset, or in two of them."""
    owners = {name: {info['img_path'] for info in each} for name, each in infos.items() if each}
    within: dict[str, list[str]] = defaultdict(list)
    across: dict[tuple[str, str], list[str]] = defaultdict(list)
    copied = {path for group in scan.copies for path in group}
    shared = set().union(*owners.values()) - copied
    for group in [*scan.copies, *([path] for path in sorted(shared))]:
        holders = [
            (name, held) for name, paths in owners.items() if (held := paths.intersection(group))
        ]
        for number, (name, held) in enumerate(holders):
            if len(held) > 1:
                within[name].append(' = '.join(sorted(held)))
            for other, _ in holders[:number]:
                across[other, name].append(min(held))
    findings = [
        Finding(
            'warning',
            f'{name}: {len(groups)} pictures are there more than once, as files of the same '
            f'content: {shorten(groups, separator="; ")}',
        )
        for name, groups in within.items()
    ]
    return findings + [
        Finding(
            'warning',
            f'{len(paths)} pictures stand in both {first} and {second} (same content): scores on '
            f'them say nothing about new ones: {shorten(paths)}',
        )
        for (first, second), paths in across.items()
    ]
