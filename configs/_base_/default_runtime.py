# Hooks, seed, logging and pictures, the same for every config.
default_scope = 'mmdetr'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='coco/bbox_mAP',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),  # draw=True: pictures of each validation
    dataset_check=dict(type='DatasetCheckHook'),
    collapse_watch=dict(type='CollapseWatchHook'),
    non_finite_guard=dict(type='NonFiniteGuardHook', action='stop'),  # or 'skip': without the step
)
# Moving average of the weights: custom_hooks = [dict(type='EMAHook', momentum=0.0002)]

# The backend of torch.distributed is nccl on GPUs and gloo without. A rank waits for the others
# for 'timeout' seconds before the job ends; rank 0 scores and saves alone in the meantime.
env_cfg = dict(
    cudnn_benchmark=False,  # every batch has another size, which the benchmark would repeat for
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(timeout=600),
)
# Fixed, so that a config says what its run will do; seed=None draws one and records it.
randomness = dict(seed=0)

# For TensorBoard, in a child config:
#   visualizer = dict(
#       vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
visualizer = dict(
    type='DetVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
)
log_processor = dict(
    window_size=50,
    mean_pattern=r'.*(loss|time|grad_norm|error|object_share|box_spread|matched|correct).*',
)
log_level = 'INFO'
# Header, bar and table on standard output, the log in its file; None: the whole log on both.
console = dict(quiet=False)

load_from = None
resume = False
