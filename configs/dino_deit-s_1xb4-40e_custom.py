# DINO for small data on a vision transformer: DeiT-S of timm, whose one map of stride 16 gets a
# smaller one beside it. One's own data in COCO format; a child sets classes, paths and the size of
# the images, in multiples of 16.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data; not trained here. Needs timm, which downloads the weights.
_base_ = [
    '_base_/models/dino_4scale_r50.py',
    '_base_/datasets/custom_coco_detection_320.py',
    '_base_/schedules/schedule_small_data.py',
    '_base_/default_runtime.py',
]
# Half of the schedule's, which was measured with RT-DETRv2 alone.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='deit_small_patch16_224',
        out_indices=[11],
        pretrained=True,
        norm_frozen=False,
        model_args=dict(dynamic_img_size=True),
    ),
    neck=dict(num_outs=2),
    bbox_head=dict(
        num_queries=100,
        max_per_img=100,
        denoising=dict(max_queries=100),
        # The backbone attends to the whole image already.
        transformer=dict(
            num_levels=2, num_encoder_layers=1, num_decoder_layers=3, feedforward_channels=512
        ),
    ),
)
