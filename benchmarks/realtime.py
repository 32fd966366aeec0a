"""One image and one training step of RT-DETRv2 and D-FINE against others on a CPU.

    python benchmarks/realtime.py {r18,r50,dfine-n,dfine-l} [--size H W] [--authors DIR]
    python benchmarks/realtime.py dfine-n --works inference
    python benchmarks/realtime.py r18 --device cuda

DIR is a checkout of lyuwenyu/RT-DETR or Peterande/D-FINE, which runs beside transformers then.
transformers' model is what `convert` writes of ours, so both have the same weights; outputs are
compared at 32x32 pixels, where transformers' position encoding does not differ from the authors';
the authors' at the whole size, as sets.
"ours" is a model as `init_detector` builds it, "optimised" the one of
`init_detector(..., optimize=True)`, both in float32. A training step is the forward pass with all
losses of two images of seven objects and the backward pass, with the same parameters frozen. Times
are CPU seconds of one thread, or seconds on a GPU.
"""

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import ROOT, add_device, parser, ratio, summary, time_in_turns, write_result

CONFIGS = {
    'r18': 'rtdetrv2_r18vd_8xb2-120e_coco.py',
    'r50': 'rtdetrv2_r50vd_8xb2-72e_coco.py',
    'dfine-n': 'dfine_n_8xb16-160e_coco.py',
    'dfine-l': 'dfine_l_8xb4-80e_coco.py',
}
OBJECTS = 7
WORKS = ('training', 'inference')


def our_model(name: str) -> Any:
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from mmdetr.registry import MODELS

    init_default_scope('mmdetr')
    torch.manual_seed(0)
    config = Config.fromfile(ROOT / 'configs' / CONFIGS[name]).model
    config.backbone.init_cfg = None
    config.data_preprocessor.sizes = []
    model = MODELS.build(config).eval()
    for key, parameter in model.named_parameters():
        # At the start all points are on a grid and all boxes alike.
        if 'sampling_offsets' in key or 'reg_branch' in key:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def their_model(ours: Any) -> Any:
    """transformers' model with our weights, and what we freeze frozen."""
    import torch
    import transformers

    from mmdetr.checkpoint import convert, read_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(dict(state_dict=ours.state_dict()), folder / 'ours.pth')
        source = read_checkpoint(str(folder / 'ours.pth'))
        convert(source, folder / 'model.safetensors', 'huggingface')
        config = transformers.AutoConfig.from_pretrained(folder)
        frozen = any('Frozen' in type(each).__name__ for each in ours.backbone.modules())
        config.freeze_backbone_batch_norms = frozen
        model = transformers.AutoModelForObjectDetection.from_pretrained(folder, config=config)
    stem = next(ours.backbone.stem.parameters()).requires_grad
    for key, parameter in model.named_parameters():
        if 'backbone' in key and 'embedder' in key:
            parameter.requires_grad_(stem)
    return model.eval()


def samples(size: tuple[int, int], device: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """The same objects for ours and for transformers."""
    import torch
    from mmengine.structures import InstanceData

    from mmdetr.structures import DetDataSample, cxcywh_to_xyxy

    ours, theirs = [], []
    for i in range(2):
        bboxes = torch.rand(OBJECTS, 4, device=device) * 0.3 + 0.2
        labels = torch.randint(80, (OBJECTS,), device=device)
        sample = DetDataSample(metainfo=dict(img_id=i, img_shape=size, ori_shape=size))
        scale = bboxes.new_tensor([size[1], size[0], size[1], size[0]])
        sample.gt_instances = InstanceData(bboxes=cxcywh_to_xyxy(bboxes) * scale, labels=labels)
        ours.append(sample)
        theirs.append(dict(class_labels=labels, boxes=bboxes))
    return ours, theirs


def difference(ours: Any, theirs: Any) -> float:
    """Largest difference of logits and boxes on an image that both see alike."""
    import torch

    image = torch.rand(1, 3, 32, 32)
    theirs = copy.deepcopy(theirs)
    theirs.config.num_queries = ours(image).logits.shape[2]
    with torch.no_grad():
        own, other = ours(image), theirs(image)
    pairs = ((own.logits[-1], other.logits), (own.bboxes[-1], other.pred_boxes))
    return max((first - second).abs().max().item() for first, second in pairs)


def difference_as_sets(ours: Any, theirs: dict[str, Any]) -> float:
    """Largest difference of logits and boxes of the last layer to those of the authors' model.

    With random weights many proposals are nearly equal, and a rounding lets them change places.
    """
    from mmdetr.deploy.comparison import TOLERANCES, compare_predictions

    found = dict(logits=ours.logits[-1].cpu().numpy(), bboxes=ours.bboxes[-1].cpu().numpy())
    expected = {
        name: theirs[key].cpu().numpy()
        for name, key in (('logits', 'pred_logits'), ('bboxes', 'pred_boxes'))
    }
    parts = compare_predictions(expected, found, (1,), TOLERANCES['float32'])
    return max(part.largest for part in parts)


def main() -> None:
    options = parser(__doc__, repeats=3, size=(640, 640))
    options.add_argument('model', choices=CONFIGS)
    add_device(options)
    options.add_argument('--authors', type=Path, help="checkout of the authors' code")
    options.add_argument(
        '--works', nargs='+', choices=WORKS, default=WORKS, help='what is timed (default: all)'
    )
    args = options.parse_args()
    import torch

    from mmdetr.apis.optimize import optimize_for_inference

    if args.device == 'cpu':
        torch.set_num_threads(1)
    ours = our_model(args.model)
    theirs = their_model(ours)
    largest = difference(ours, theirs)
    print(f'largest difference of logits and boxes: {largest:.1e}')
    ours, theirs = ours.to(args.device), theirs.to(args.device)
    image, images = (torch.rand(count, 3, *args.size, device=args.device) for count in (1, 2))
    own_samples, their_samples = samples(tuple(args.size), args.device)

    def infer(model: Any) -> Callable[[], Any]:
        return torch.no_grad()(lambda: model.eval()(image))

    def our_step() -> None:
        losses = ours.train()(images, None, own_samples, mode='loss')
        ours.parse_losses(losses)[0].backward()
        ours.zero_grad()

    def their_step() -> None:
        theirs.train()(images, labels=their_samples).loss.backward()
        theirs.zero_grad()

    optimised = optimize_for_inference(copy.deepcopy(ours))
    works: dict[str, dict[str, Callable[[], Any]]] = {
        'training': {'transformers': their_step, 'ours': our_step},
        'inference': {
            'transformers': infer(theirs),
            'ours': infer(ours),
            'optimised': infer(optimised),
        },
    }
    differences = dict(transformers=largest)
    if args.authors is not None:
        from _models import exact_convolutions
        from _realtime_models import authors_model, call

        authors, criterion = authors_model(args.model, ours, args.authors)
        authors, criterion = authors.to(args.device), criterion.to(args.device)
        with torch.no_grad(), exact_convolutions():
            found, own = call(authors.eval(), image), ours(image)
        differences['authors'] = difference_as_sets(own, found)
        print(f'to the authors: {differences["authors"]:.1e}')
        targets = [dict(labels=each['class_labels'], boxes=each['boxes']) for each in their_samples]

        def authors_step() -> None:
            losses = criterion(call(authors.train(), images, targets), targets)
            sum(losses.values()).backward()
            authors.zero_grad()

        works['training']['authors'] = authors_step
        works['inference']['authors'] = torch.no_grad()(lambda: call(authors.eval(), image))
    rows = {}
    for work in args.works:
        calls = works[work]
        clock = time.process_time if args.device == 'cpu' else None
        seconds = time_in_turns(calls, args.repeats, clock=clock)
        for name, times in seconds.items():
            faster = {peer: ratio(seconds[peer], times) for peer in differences}
            rows[f'{work}, {name}'] = dict(seconds=times, faster=faster)
            words = ', '.join(f'{value} x {peer}' for peer, value in faster.items())
            print(f'{work:10s}{name:14s}{summary(times):44s}{words}', flush=True)
    write_result(
        f'realtime_{args.model}_{args.size[0]}x{args.size[1]}',
        dict(model=args.model, size=list(args.size), difference=differences, rows=rows),
        args.device,
    )


if __name__ == '__main__':
    main()
