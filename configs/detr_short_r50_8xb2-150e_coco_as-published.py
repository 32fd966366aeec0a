# The short DETR with 92 class outputs (COCO's category ids and no-object) and boxes without a
# sigmoid, which nothing keeps inside the image; the form in which it is often shown.
#   tools/dist_train.sh configs/detr_short_r50_8xb2-150e_coco_as-published.py 8
# Cost and result: not measured; train detr_short_r50_8xb2-150e_coco.py for usable boxes.
_base_ = './detr_short_r50_8xb2-150e_coco.py'
model = dict(bbox_head=dict(num_classes=91, sigmoid_bboxes=False))
train_dataloader = dict(dataset=dict(category_ids_as_labels=True))
val_dataloader = dict(dataset=dict(category_ids_as_labels=True))
test_dataloader = val_dataloader
