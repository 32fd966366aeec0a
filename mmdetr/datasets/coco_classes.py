"""COCO's category names by category id, as a class head with a row per id numbers them.

Things come first, ids 1..90; the stuff of the panoptic annotations follows, ids 92..200.
"""

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

# Names of stuff have hyphens and no blanks.
_STUFF_BY_ID = {
    92: 'banner blanket',
    95: 'bridge',
    100: 'cardboard',
    107: 'counter',
    109: 'curtain',
    112: 'door-stuff',
    118: 'floor-wood flower',
    122: 'fruit',
    125: 'gravel',
    128: 'house',
    130: 'light',
    133: 'mirror-stuff',
    138: 'net',
    141: 'pillow',
    144: 'platform playingfield',
    147: 'railroad river road',
    151: 'roof',
    154: 'sand sea shelf',
    159: 'snow',
    161: 'stairs',
    166: 'tent',
    168: 'towel',
    171: 'wall-brick',
    175: 'wall-stone wall-tile wall-wood water-other',
    180: 'window-blind window-other',
    184: 'tree-merged fence-merged ceiling-merged sky-other-merged cabinet-merged table-merged',
    190: 'floor-other-merged pavement-merged mountain-merged grass-merged dirt-merged',
    195: 'paper-merged food-other-merged building-other-merged rock-merged wall-other-merged',
    200: 'rug-merged',
}
COCO_PANOPTIC_NAMES: dict[int, str] = COCO_NAMES | {
    first + i: name for first, names in _STUFF_BY_ID.items() for i, name in enumerate(names.split())
}
COCO_PANOPTIC_CATEGORY_IDS: tuple[int, ...] = tuple(COCO_PANOPTIC_NAMES)
COCO_PANOPTIC_CLASSES: tuple[str, ...] = tuple(COCO_PANOPTIC_NAMES.values())
# Row = category id, in as many rows as the authors' panoptic models have.
COCO_PANOPTIC_ROWS_BY_ID: tuple[str | None, ...] = tuple(
    COCO_PANOPTIC_NAMES.get(i) for i in range(250)
)
