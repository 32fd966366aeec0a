"""Counts of a dataset, by hand."""

from typing import Any

from torch.utils.data import Dataset

from mmdetr.analysis.statistics import count_data


class Two(Dataset):
    """Two images of three classes; the second has a crowd."""

    metainfo = dict(classes=('cat', 'dog', 'bird'))

    def __len__(self) -> int:
        return 2

    def get_data_info(self, index: int) -> dict[str, Any]:
        objects = [([0, 0, 4, 9], 0, 0), ([5, 5, 5, 9], 0, 0), ([0, 0, 10, 10], 2, index)]
        return dict(
            instances=[
                dict(bbox=bbox, bbox_label=label, ignore_flag=crowd)
                for bbox, label, crowd in objects
            ]
        )


def test_counts_by_hand() -> None:
    found = count_data(Two())
    assert (found.num_images, found.crowds) == (2, 1)
    assert found.per_image.tolist() == [3, 2]
    assert found.per_class.tolist() == [4, 0, 1]
    assert found.images_per_class.tolist() == [2, 0, 1]
    assert found.sides.tolist() == [6, 0, 10, 6, 0]
