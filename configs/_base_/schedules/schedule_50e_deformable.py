# 50 epochs, learning rate / 10 after 40. AdamW: 2e-4, a tenth of it for the backbone and for where
# deformable attention looks; weight decay 1e-4, gradient norm clipped at 0.1, no warm-up.
_base_ = './schedule_50e.py'
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'sampling_offsets': dict(lr_mult=0.1),
            'reference_points': dict(lr_mult=0.1),
        }
    ),
)

# The rate belongs to a total batch of 32; `--auto-scale-lr` scales it linearly with the batch.
auto_scale_lr = dict(base_batch_size=32)
