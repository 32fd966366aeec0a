"""The two sides of set prediction: what the head predicts and what the criterion compares with.

Legend: L decoder layers, B images, N queries, K classes, M objects of one image, T of the fullest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from mmengine.utils import apply_to
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import register_pytree_node

from .class_activation import ClassActivation, SoftmaxClasses

Prediction = TypeVar('Prediction', bound='SetPrediction')
Target = TypeVar('Target', bound='SetTarget')


# Metadata of a prediction's field whose first axis counts the L decoder layers.
PER_LAYER = {'per_layer': True}
# Metadata of a target's field that images do not stack along, as masks of unlike sizes.
UNPADDED = {'unpadded': True}


@dataclasses.dataclass(frozen=True)
class SetPrediction:
    """Raw output of the head, one set of N predictions per image and decoder layer.

    A head that predicts more derives a dataclass with more fields. Criterion, postprocessing and
    tools hand a record on as a whole, so what they do not know reaches whoever asks for it. A field
    is a tensor, another record, or a list, tuple or dict of these. ``field(metadata=PER_LAYER)``
    declares a field with a layer axis; other fields have none.

    Attributes:
        logits: [L, B, N, K + 1] unnormalised class scores with no-object last, or [L, B, N, K];
            ``class_activation`` says which.
        bboxes: [L, B, N, 4] cxcywh in 0..1 of the unpadded image.
        class_activation: What a row of ``logits`` means.

    Example:
        >>> import torch
        >>> @dataclasses.dataclass(frozen=True)
        ... class DepthPrediction(SetPrediction):
        ...     depths: Tensor | None = None
        >>> logits, bboxes, depths = (torch.zeros(6, 2, 5, n) for n in (4, 4, 1))
        >>> last = DepthPrediction(logits, bboxes, depths=depths[0]).layer(-1)
        >>> last.logits.shape, last.depths.shape
        (torch.Size([1, 2, 5, 4]), torch.Size([2, 5, 1]))
    """

    logits: Tensor = dataclasses.field(metadata=PER_LAYER)
    bboxes: Tensor = dataclasses.field(metadata=PER_LAYER)
    class_activation: ClassActivation = dataclasses.field(default=SoftmaxClasses(), kw_only=True)

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.logits)

    @property
    def probabilities(self) -> Tensor:
        """Probability of each class, [L, B, N, K]."""
        return self.class_activation.probabilities(self.logits)

    @property
    def predicted_labels(self) -> Tensor:
        """Best label of each query, [L, B, N], K for no object."""
        return self.class_activation.predicted_labels(self.logits)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register_with_torch(cls)

    def __iter__(self) -> Iterator[Tensor]:
        """Unpack as ``logits, bboxes = model(inputs)``, whatever else there is."""
        return iter((self.logits, self.bboxes))

    def replace(self: Prediction, **changes: Any) -> Prediction:
        """Return a copy with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def layer(self: Prediction, index: int) -> Prediction:
        """Return the prediction of one decoder layer, L = 1; negative counts from the last."""

        def select(value: Any) -> Any:
            if isinstance(value, SetPrediction):
                return value.layer(index)
            return value[index : index + 1 or None]

        chosen = [field.name for field in dataclasses.fields(self) if 'per_layer' in field.metadata]
        values = {name: getattr(self, name) for name in chosen}
        return self.replace(
            **{name: _apply(value, select) for name, value in values.items() if value is not None}
        )

    def map(self: Prediction, function: Callable[[Tensor], Tensor]) -> Prediction:
        """Return a copy with ``function`` applied to every tensor, those of inner records too."""

        def convert(value: Any) -> Any:
            return value.map(function) if isinstance(value, SetPrediction) else function(value)

        names = [field.name for field in dataclasses.fields(self)]
        return self.replace(**{name: _apply(getattr(self, name), convert) for name in names})

    def float(self: Prediction) -> Prediction:
        """Return a copy whose floating point tensors are float32."""
        return self.map(lambda value: value.float() if value.is_floating_point() else value)


def _register_with_torch(record: type[SetPrediction]) -> None:
    """Let torch.export return such records: values are all fields but the meaning of classes."""

    def flatten(prediction: SetPrediction) -> tuple[list[Any], ClassActivation]:
        return [getattr(prediction, name) for name in names()], prediction.class_activation

    def unflatten(values: Iterable[Any], class_activation: ClassActivation) -> SetPrediction:
        fields = dict(zip(names(), values, strict=True))
        return record(**fields, class_activation=class_activation)

    def names() -> list[str]:  # asked late: a class becomes a dataclass after its registration
        every = (field.name for field in dataclasses.fields(record))
        return [name for name in every if name != 'class_activation']

    register_pytree_node(record, flatten, unflatten)


_register_with_torch(SetPrediction)


@dataclasses.dataclass(frozen=True)
class DenoisingPrediction(SetPrediction):
    """Prediction of the denoising queries, which stand for known objects.

    Attributes:
        image: int64 [P] image of each of P known pairs; the other queries stand for nothing.
        query: int64 [P] denoising query of that image.
        target: int64 [P] its object, counted over the objects of the batch.
        num_groups: How many queries stand for the same object.

    Source: DN-DETR, section 4.3.
    """

    image: Tensor
    query: Tensor
    target: Tensor
    num_groups: int = 1


@dataclasses.dataclass(frozen=True)
class QueryPrediction(SetPrediction):
    """Prediction of a successor that has proposals, denoising queries or both.

    Attributes:
        proposals: What the encoder proposes, L = 1; for the criterion alone.
        denoising: Prediction of the denoising queries; for the criterion alone.
    """

    proposals: SetPrediction | None = None
    denoising: DenoisingPrediction | None = dataclasses.field(default=None, metadata=PER_LAYER)


def _apply(value: Any, function: Callable[[Any], Any]) -> Any:
    return apply_to(value, lambda each: isinstance(each, Tensor | SetPrediction), function)


@dataclasses.dataclass(frozen=True)
class SetTarget:
    """The objects of one image as the criterion wants them; derive a dataclass for more fields.

    Attributes:
        labels: [M] int64 in 0..K-1.
        bboxes: [M, 4] float32 cxcywh in 0..1 of the unpadded image.
    """

    labels: Tensor
    bboxes: Tensor

    @classmethod
    def pad(cls: type[Target], targets: Sequence[Target]) -> Target:
        """Stack the targets of B images, [B, T, ...], with zeros behind an image's own objects.

        Fields declared with ``field(default=None, metadata=UNPADDED)`` are left out.
        """
        fields = dataclasses.fields(targets[0])
        names = [field.name for field in fields if 'unpadded' not in field.metadata]
        columns = {name: [getattr(target, name) for target in targets] for name in names}
        return type(targets[0])(
            **{name: pad_sequence(column, batch_first=True) for name, column in columns.items()}
        )
