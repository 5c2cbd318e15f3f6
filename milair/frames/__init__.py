"""From annotations and pictures to training and validation frames. What may be chosen stands here, light to import."""

KINDS = ("stratified", "grouped", "file")  # of a split; the first is the default, unless the data bring a split
FOLDS, MOST_FOLDS = "folds", 100  # "folds:5": a kind as well, of several splits
OBJECTS = ("largest", "skip", "error")  # what becomes of a frame with several objects; the first is the default
TRAIN, VALIDATION, TEST = "train", "validation", "test"  # parts that data may name
