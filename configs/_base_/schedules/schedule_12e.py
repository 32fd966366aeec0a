# 12 epochs, learning rate / 10 after 11; the rest as in schedule_150e.
_base_ = './schedule_150e.py'
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[11], gamma=0.1)
]
