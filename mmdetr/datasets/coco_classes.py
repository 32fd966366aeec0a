"""COCO's category names by category id, as a class head with a row per id numbers them."""

# Ids 1..90 with ten gaps; id 0 is not used either.
_NAMES_BY_ID = {
    1: 'person bicycle car motorcycle airplane bus train truck boat',
    10: 'traffic_light fire_hydrant',
    13: 'stop_sign parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe',
    27: 'backpack umbrella',
    31: 'handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat',
    40: 'baseball_glove skateboard surfboard tennis_racket bottle',
    46: 'wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot',
    58: 'hot_dog pizza donut cake chair couch potted_plant bed',
    67: 'dining_table',
    70: 'toilet',
    72: 'tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator',
    84: 'book clock vase scissors teddy_bear hair_drier toothbrush',
}
COCO_NAMES: dict[int, str] = {
    first + i: name.replace('_', ' ')
    for first, names in _NAMES_BY_ID.items()
    for i, name in enumerate(names.split())
}
COCO_CATEGORY_IDS: tuple[int, ...] = tuple(COCO_NAMES)
COCO_CLASSES: tuple[str, ...] = tuple(COCO_NAMES.values())
# Row = category id; None where COCO has no category.
COCO_ROWS_BY_ID: tuple[str | None, ...] = tuple(COCO_NAMES.get(i) for i in range(91))
