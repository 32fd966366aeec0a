import pytest
from torch import nn

from mmdetr.checkpoint import model_rows
from mmdetr.registry import MODELS
from tests.helpers.reference import model_config, read_case


class Head(nn.Module):
    """Two class branches and a table of queries."""

    resizable_rows = ('queries.weight',)

    def __init__(self, num_rows: int, has_no_object_row: bool) -> None:
        super().__init__()
        self.queries = nn.Embedding(5, 2)
        self.labels = nn.ModuleList(nn.Linear(2, num_rows) for _ in range(2))
        self.class_rows = tuple(f'labels.{i}.weight' for i in range(2))
        self.has_no_object_row = has_no_object_row


def test_names_are_full_and_every_module_is_asked():
    model = nn.Sequential(
        nn.ModuleDict(dict(one=Head(4, True), two=Head(4, False))), nn.Linear(1, 1)
    )
    rows = model_rows(model)
    assert rows.classes == {
        '0.one.labels.0.weight': True,
        '0.one.labels.1.weight': True,
        '0.two.labels.0.weight': False,
        '0.two.labels.1.weight': False,
    }
    assert rows.resizable == {'0.one.queries.weight', '0.two.queries.weight'}


@pytest.mark.parametrize(('no_object', 'expected'), [(True, 3), (False, 4)])
def test_number_of_classes(no_object, expected):
    head = Head(4, no_object)
    assert model_rows(head).num_classes(head) == expected
    assert model_rows(nn.Linear(1, 1)).num_classes(nn.Linear(1, 1)) is None


def test_a_name_that_is_no_weight():
    head = Head(4, True)
    head.class_rows = ('label.weight',)
    with pytest.raises(ValueError, match=r'Head\.class_rows names label\.weight.*0\.label\.weight'):
        model_rows(nn.Sequential(head))


def test_what_detr_says():
    model = MODELS.build(model_config(read_case('learned_post')[0]))
    rows = model_rows(model)
    assert rows.classes == {
        'bbox_head.cls_branch.weight': True,
        'bbox_head.cls_branch.bias': True,
    }
    assert rows.resizable == {
        'bbox_head.query_embedding.weight',
        'bbox_head.positional_encoding.row_embed.weight',
        'bbox_head.positional_encoding.col_embed.weight',
    }
    assert rows.num_classes(model) == model.bbox_head.num_classes
