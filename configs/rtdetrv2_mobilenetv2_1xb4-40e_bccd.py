# Blood cells (BCCD, 292 photographs for training) in data/bccd/{train.json,val.json,images}: the
# small RT-DETRv2 with nothing but classes and paths set.
#   python tools/train.py configs/rtdetrv2_mobilenetv2_1xb4-40e_bccd.py
# Cost: 80 CPU minutes of one thread, so about 40 of two cores. Result, one seed, on the 72
# photographs for validation: bbox_mAP 0.627, bbox_mAP_50 0.908 (best epoch: 0.629 and 0.909); after
# 20 of the 80 minutes 0.559 and 0.826. From MobileNetV2's published ImageNet weights.
_base_ = './rtdetrv2_mobilenetv2_1xb4-40e_custom.py'
train_dataloader = dict(dataset=dict(data_root='data/bccd/'))
val_dataloader = dict(dataset=dict(data_root='data/bccd/'))
test_dataloader = val_dataloader
model = dict(bbox_head=dict(num_classes=3))
