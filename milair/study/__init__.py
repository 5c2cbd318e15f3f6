"""The only room that knows Optuna. What may be chosen of a study stands here, light to import."""

SAMPLERS = ("tpe", "random", "grid")  # the first is the default, as of the next
PAIRED = "paired"  # needs folds
PRUNERS = ("median", "asha", "hyperband", PAIRED, "none")
TRIALS, SAMPLE_TRIALS = 40, 12  # finished ones in all, by default
VIEWS, SAMPLE_VIEWS = 12, 4  # K, augmented views of each picture in a bank, by default


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
