"""From annotations and pictures to training and validation frames. What may be chosen stands here, light to import."""

KINDS = ("stratified", "grouped", "file")  # of a split; the last is the default where the data bring a split
FOLDS, MOST_FOLDS = "folds", 100  # "folds:5": a kind as well, of several splits
FEW, OF_FEW = 1000, f"{FOLDS}:5"  # of fewer frames the default; of others it is the first kind
OBJECTS = ("largest", "skip", "error")  # what becomes of a frame with several objects; the first is the default
TRAIN, VALIDATION, TEST = "train", "validation", "test"  # parts that data may name


def is_kind(text: str) -> bool:
    """Whether there is such a split."""
    name, _, count = text.partition(":")
    return text in KINDS or (name == FOLDS and count.isdecimal() and 2 <= int(count) <= MOST_FOLDS)
