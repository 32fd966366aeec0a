from mmengine.dataset import ConcatDataset, RepeatDataset

from mmdetr.datasets import ShapesDataset
from mmdetr.datasets.wrappers import leaf_datasets, parts, pipeline_steps
from mmdetr.engine.data_sampling import SeededDataset


def test_leaves_of_wrapped_datasets() -> None:
    first, second = ShapesDataset(num_images=2), ShapesDataset(num_images=3)
    combined = ConcatDataset([first, second])
    repeated = RepeatDataset(second, times=2)
    assert parts(combined) == [first, second]
    assert parts(repeated) == [second]
    assert parts(first) == []
    for wrapper in (combined, SeededDataset(combined)):
        assert leaf_datasets(wrapper) == [first, second]
    for wrapper in (repeated, SeededDataset(repeated)):
        assert leaf_datasets(wrapper) == [second]
    assert leaf_datasets(first) == [first]


def test_steps_are_those_of_the_dataset_itself() -> None:
    dataset = ShapesDataset(num_images=2, pipeline=[dict(type='PackDetInputs')])
    assert [type(step).__name__ for step in pipeline_steps(dataset)] == ['PackDetInputs']
    assert pipeline_steps(ConcatDataset([dataset])) is None
