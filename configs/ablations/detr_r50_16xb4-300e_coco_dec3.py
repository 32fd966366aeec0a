# 3 decoder layers instead of 6.
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_dec3.py 16
# Cost: about that of the parent.
# Result of the paper: none for a model trained so; figure 4 cuts a trained model of 6 layers
# after each layer (tools/analysis/decoder_layers.py).
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(bbox_head=dict(transformer=dict(num_decoder_layers=3)))
