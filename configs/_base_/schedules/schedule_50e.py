# 50 epochs, learning rate / 10 after 40; the rest as in schedule_150e.
_base_ = './schedule_150e.py'
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=50, by_epoch=True, milestones=[40], gamma=0.1)
]
