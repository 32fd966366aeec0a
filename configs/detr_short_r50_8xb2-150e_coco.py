# The short DETR: torch.nn's transformer stacks, positions and queries at the inputs, one linear
# layer each for classes and boxes, 480 x 480 images. Here with a sigmoid on the boxes and a class
# for each of COCO's 80; detr_short_r50_8xb2-150e_coco_as-published.py is the form with 92 outputs.
# After the authors' notebook: github.com/facebookresearch/detr, colab/notebooks/detr_demo.ipynb.
#   tools/dist_train.sh configs/detr_short_r50_8xb2-150e_coco.py 8
# Cost and result: not measured.
_base_ = [
    '_base_/models/detr_short_r50.py',
    '_base_/datasets/coco_detection_480.py',
    '_base_/schedules/schedule_150e.py',
    '_base_/default_runtime.py',
]
