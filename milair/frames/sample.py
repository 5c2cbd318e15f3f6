"""The built-in sample: frames with one aircraft each, drawn from a seed, so that a first search needs no download.

It keeps what makes the real task hard: types that look alike, far and near targets, clutter, haze, camera noise.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Box = tuple[int, int, int, int]
Array = np.typing.NDArray[np.floating[Any]]

CLASSES = ("f16", "cougar", "chinook", "ah64", "f15", "seahawk")

# Parts from back to front, each a tone, a shape and its points. x is percent of the fuselage from nose to tail, y goes
# down in the same unit. `poly` keeps its corners, `round` cuts them; `oval` and `rotorN` (N blades): centre and radii.
AIRCRAFT = {
    "f16": """
        far poly 50,-3 66,-12 73,-12 72,-2 | far poly 80,-2 90,-8 96,-8 95,-1 | far poly 74,6 78,12 84,12 88,5
        glass round 16,-3 21,-8 27,-11.5 34,-10.5 45,-6 30,-2 | white round 23,-7.5 26,-10 30,-9.7 26,-7
        black round 91,-5 101,-4 101,4 91,5 | skin poly 54,-6 65,-9 78,-25 87,-25 91,-5
        dark poly 84,-18 88.6,-18 91,-8 87,-8 | mark poly 78,-25 87,-25 87.6,-22 75.6,-22
        low poly 28,2 30,10 42,11 80,8 86,0 34,0 | black poly 27.5,2.5 29.8,10 32.3,10 30.5,2.5
        skin round -4,1.5 0,0.5 18,-4 34,-6 50,-7 66,-7 94,-5 96,0 94,5 70,6 34,5 14,3.5 -1,2
        dark round -4,1.5 0,0.5 10,-2.3 10,3 -1,2 | light poly 26,-0.5 47,1 70,16 80,16 79,1 68,-1
        dark poly 70.5,1 77,1.5 78.6,11 75.5,11 | light poly 60,16 63,15.2 85,15.2 85,17.2 63,17.2
        light poly 81,0.5 95,0.5 100,10 93,10 | mark oval 40,-3.2 2,2 | white oval 40,-3.2 1,1
    """,
    "f15": """
        far poly 46,-4 62,-15 70,-15 78,-3 | far poly 82,-3 90,-9 97,-9 99,-2 | far poly 62,-6 74,-27 80,-27 84,-6
        glass round 11,-2 17,-8 23,-12 30,-12 41,-7 28,-2 | white round 18,-8 22,-10.7 26,-10.7 21,-7.3
        black round 90,-6 101,-5 101,2 90,3 | black round 93,-2 104,-1 104,6 93,7
        skin round -5,2 0,0 14,-4.5 30,-8 50,-8 70,-7 93,-6 95,0 93,5 60,7 34,6 16,5 -2,3
        dark round -5,2 0,0 8,-2.6 8,4 -2,3 | low poly 27,-6.5 35,8 46,10 91,8 95,2 95,-4 40,-7
        black poly 26.5,-6.5 34.5,8.3 36.3,8.6 28.7,-6.5 | skin poly 74,-4 86,-24 92.5,-24 95,-4
        dark poly 92,-15 93.8,-15 95,-5 92,-5 | mark poly 84.2,-21 92.8,-21 93,-18.5 82.7,-18.5
        light poly 40,0 49,-0.5 80,-0.5 83,1.5 86,14 79,18 72,17 | dark poly 77,1 81,1.5 84,10.5 80.5,12
        light poly 85,1.5 97,0.5 105,9 98,12 97,9 | mark oval 47,3.4 2,2 | white oval 47,3.4 1,1
    """,
    "chinook": """
        black rotor3 15,-20 50,4 | black rotor3 90,-29 50,4 | black oval 14,12 2.6,2.6 | black oval 76,12 2.6,2.6
        low poly 12.5,-20 17.5,-20 19,-8 9,-8 | low poly 87.5,-29 92.5,-29 94,-20 86,-20
        skin round 7,-8 9,-16 20,-17 28,-11 34,-8
        skin round 68,-8 78,-16 82,-25 86,-27 98,-26 101,-20 100,-6 97,0 70,0
        skin round 0,3 1,-1 6,-8 12,-10 80,-10 98,-8 99,-2 88,8 70,10 8,10 1,8
        low round 16,4 20,3 82,3 88,6 82,10.5 20,10.5 16,8 | dark round 74,-13 76,-16 92,-16 94,-13 92,-10 76,-10
        black oval 75.5,-13 1.7,2.7 | glass poly 1.5,-1.5 6.5,-8 12,-8.5 12,-2 3,-1 | glass oval 5,3.5 2.4,1.7
        dark poly 88,8 99,-2 97,-3 85,6 | glass oval 28,-4 1.8,1.8 | glass oval 38,-4 1.8,1.8 | glass oval 48,-4 1.8,1.8
        glass oval 58,-4 1.8,1.8 | glass oval 68,-4 1.8,1.8 | mark oval 82,-4 2.2,2.2 | white oval 82,-4 1.1,1.1
    """,
    "ah64": """
        black rotor4 36,-19 49,3.5 | skin poly 34.5,-19 37.5,-19 40,-9 32,-9 | low oval 36,-21.5 4.5,2.3
        far poly 84,1 94,2 102,3 92,-4 | skin poly 85,-2 93,-20 99,-20 96,2 86,3
        skin round 1,3 6,-1 12,-3 30,-9 48,-10 60,-6 90,-3 97,-1 96,2 60,4 44,6.5 14,6.5 3,7
        dark round -3,0.5 2,-0.5 5,2 5,7 1,8 -3,6 | white oval -1.2,3.4 1.3,1.6 | low round 6,4 12,2 34,2 42,5 32,8 10,8
        glass poly 6,-1.5 10.5,-6.5 18,-7.5 19,-1.5 9,0 | glass poly 18,-7.5 22,-12.5 31,-13 35,-8 31,-3 19,-1.5
        skin poly 17.7,-8.2 19,-8.2 19.8,-1.5 18.6,-1.5 | skin poly 26.5,-13 27.5,-13 27.5,-2 26.5,-2
        white poly 21.5,-9 23,-11.5 25.5,-11.8 24,-8 | dark round 34,-9 37,-12.5 50,-12 60,-8 58,-3.5 37,-3.5
        black oval 58.5,-5.8 2.2,2.4 | black poly 15,7 20,7 20,9.5 5,12.5 5,11.3 14,9 | low poly 25,6 28,6 31,13 28,13
        black oval 29.5,13.5 2.8,2.8 | low poly 90,2 92,2 96,7 94,7 | black oval 95,7.5 2,2
        light poly 40,0 52,-1 54,2 41,3 | dark round 37,4 40,2.5 55,2.5 57,4.7 55,7 40,7 37,6 | black rotor4 95,-15 8,9
        mark oval 70,-0.5 1.8,1.8 | white oval 70,-0.5 0.9,0.9
    """,
    "cougar": """
        black rotor4 35,-21 53,3.5 | black oval 9,14 2.3,2.3 | low poly 8,9 10,9 10,14 8,14
        far poly 92,-11 100,-15 105,-14 99,-9 | skin poly 33.5,-21 36.5,-21 40,-13 30,-13
        skin poly 80,-5 88,-6 95,-22 100,-22 99,-4 92,0 | skin round 16,-9 19,-15 26,-16 50,-15 58,-11 64,-7 60,-4 18,-4
        black oval 20.5,-12.5 2,2.2
        skin round -1,4 1,-1 7,-7 14,-11 34,-12 54,-10 66,-6 94,-5 97,-2 94,0 70,3 60,9 50,11 10,11 2,9
        low round 36,5 40,3 52,3 57,6 52,11.5 38,11 | black oval 46,13.5 2.9,2.9
        glass poly 2.5,-0.5 7,-6.5 12,-7.5 11,-0.5 | glass poly 12.5,-7.5 17.5,-7.5 17.5,0 12,-0.5
        white poly 5,-2 8,-5.5 10,-6 7.5,-2 | dark poly 20,-7 28.5,-7 28.5,8 20,8
        glass poly 22,-5.5 26.5,-5.5 26.5,-1 22,-1 | glass poly 31,-5.5 35.5,-5.5 35.5,-1 31,-1
        glass poly 38,-5.5 42.5,-5.5 42.5,-1 38,-1 | glass poly 45,-5.5 49.5,-5.5 49.5,-1 45,-1
        black rotor5 97,-19 8,9 | mark oval 72,-2 1.9,1.9 | white oval 72,-2 1,1
    """,
    "seahawk": """
        black rotor4 33,-17 53,3.5 | black oval 17,12.5 2.7,2.7 | low poly 18,5 20,5 18,12 16,12
        far poly 86,-3 96,-7 103,-7 98,-2 | low poly 31.5,-17 34.5,-17 38,-10 28,-10
        skin poly 78,-4 86,-4 95,-20 101,-19 96,-1 88,2 | skin round 15,-6 19,-11 28,-13 46,-12 58,-9 66,-5 60,-2 18,-2
        dark round 38,-11 44,-12 57,-9 59,-7 56,-5 40,-6
        skin round -1,2 0,-1 7,-3 15,-8 30,-9 54,-8 66,-5 88,-3 93,0 88,3 68,4 54,8 14,8 2,6
        low round 1,5 4,4 12,5 15,7 12,9.5 3,8.5 | black oval -1.5,2.5 2,2.2 | glass poly 8,-2.5 15,-7 18,-7 17,-1.5
        glass poly 19,-7 24,-7 24,-1.5 18.3,-1.5 | white poly 11,-3.2 15,-5.8 16.5,-5.8 14,-3.2
        dark poly 36,-5.5 50,-5 50,6 36,6.5 | glass poly 39,-3.5 43,-3.5 43,1 39,1
        glass poly 45,-3.5 49,-3.5 49,1 45,1 | white round 22,8 25,7 42,7 45,8.7 42,10.5 25,10.5
        low poly 66,3 69,3 72,9 70,9 | black oval 71,10 2.2,2.2 | light poly 85,0 97,-1 101,3 90,4.5
        black rotor4 98,-17 5,9 | mark oval 76,-0.5 1.8,1.8 | white oval 76,-0.5 0.9,0.9
    """,
}
SHARES = {"light": 1.14, "skin": 1.0, "low": 0.84, "far": 0.7, "dark": 0.62}  # tones mixed from the paint
INKS = {"black": "#1e1e21", "disc": "#3c3c424c", "glass": "#283848", "mark": "#b0302c", "white": "#dcdcda"}
PAINTS = (  # one a type: most of a type wear their own
    (150, 156, 162),  # grey
    (96, 112, 60),  # olive
    (186, 152, 98),  # sand
    (52, 54, 58),  # black
    (54, 84, 136),  # navy blue
    (222, 222, 216),  # white
)
SKIES = (  # zenith, horizon, clouds
    ("#3a70ba", "#accee8", "#f6f8fa"),
    ("#7eb8de", "#cee2ec", "#fafafa"),
    ("#545c8c", "#f0c096", "#d8a49a"),
    ("#969ea8", "#ced2d4", "#e4e6e8"),
)
GROUNDS = {  # far, near, hills
    "sea": ("#7a98a6", "#2c5268", "#506670"),
    "grass": ("#889668", "#526a36", "#3c5236"),
    "sand": ("#ceba90", "#ac9268", "#867456"),
    "runway": ("#8a946c", "#627442", "#364c34"),
}
WIDTHS = 0.25, 0.7  # of an aircraft, as shares of the frame's
ZOOM = 3  # aircraft are drawn this much larger and averaged down, for smooth edges
SEEN = 64  # a pixel counts as aircraft above this alpha, a quarter of 255


def write(folder: Path, labelled: int = 480, unlabelled: int = 12, seed: int = 32) -> Path:
    """Write `images/`, `train.csv` and `test.csv`, the competition's layout, and return `folder`.

    The folder appears whole or not at all, and one that holds this very sample is kept. Raises FileExistsError where
    something else is in the way.
    """
    recipe = f"milair sample: {labelled} labelled, {unlabelled} unlabelled, seed {seed}"
    if _holds(folder, recipe):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        draft = Path(scratch, "sample")
        (draft / "images").mkdir(parents=True)
        (draft / "SAMPLE").write_text(recipe)
        rows: list[tuple[str | int, ...]] = []
        for number in range(labelled + unlabelled):
            label, name = CLASSES[number % len(CLASSES)], f"frame_{number:05d}.jpeg"
            frame, box = draw(label, np.random.default_rng([seed, number]))
            frame.save(draft / "images" / name, quality=90)
            rows.append((name, label, *box))
        order = np.random.default_rng(seed).permutation(labelled)
        tables = {
            "train.csv": [("filename", "class", "xmin", "ymin", "xmax", "ymax"), *(rows[i] for i in order)],
            "test.csv": [("filename",), *(row[:1] for row in rows[labelled:])],
        }
        for name, table in tables.items():
            with (draft / name).open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(table)
        try:
            draft.rename(folder)
        except OSError:
            if not _holds(folder, recipe):  # if it does, another process was faster: same seed, same files
                raise
    return folder


def _holds(folder: Path, recipe: str) -> bool:
    """Whether `folder` is this sample, and then whole, for it came by one rename; False where the way is free."""
    stamp = folder / "SAMPLE"
    if stamp.is_file() and stamp.read_text() == recipe:
        return True
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in the way: it is not the {recipe}; remove it or name another folder")
    return False


def draw(label: str, rng: np.random.Generator, size: tuple[int, int] = (640, 360)) -> tuple[Image.Image, Box]:
    """One RGB frame of `size` (width, height) with one aircraft, and its tight box (xmin, ymin, xmax, ymax).

    The box is in whole pixels inside the frame; xmax and ymax are one beyond the aircraft's last pixel.
    """
    frame = _backdrop(rng, size)
    sprite, place = _aircraft(label, rng, size)
    frame.paste(sprite, place, sprite)
    seen = np.argwhere(np.asarray(sprite)[..., 3] > SEEN)[:, ::-1] + place
    box: Box = (*seen.min(axis=0).tolist(), *(seen.max(axis=0) + 1).tolist())
    hazy = Image.blend(frame, Image.new("RGB", size, "#ccd2d8"), rng.uniform(0, 0.2))
    soft = np.asarray(hazy.filter(ImageFilter.BoxBlur(rng.uniform(0, 0.7))), np.float32)
    grain = rng.standard_normal((size[1], size[0], 1), np.float32)
    exposed = np.float32(rng.uniform(0.8, 1.1)) * soft + np.float32(rng.uniform(1, 5)) * grain
    return Image.fromarray(exposed.clip(0, 255).astype(np.uint8)), box


def _aircraft(label: str, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """The aircraft in a random pose and paint, RGBA, and where in the frame its top left corner goes."""
    turn = np.radians(rng.uniform(-15, 15))
    # A shorter length looks like an aircraft that flies partly towards the camera.
    pose = np.diag([rng.choice((-1, 1)) * rng.uniform(0.78, 1), rng.uniform(0.9, 1.1)])
    pose @= np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    parts = [(tone, points @ pose) for tone, points in _outlines(AIRCRAFT[label], rng)]
    corners = np.concatenate([points for _, points in parts])
    origin, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    scale = min(rng.uniform(*WIDTHS) * size[0] / extent[0], 0.9 * size[1] / extent[1])
    width, height = (int(side) + 2 for side in scale * extent)

    light = rng.uniform(0.8, 1.1)
    # Most aircraft of a type wear the same paint, as they do in an air force; the others wear any.
    worn = CLASSES.index(label) if rng.random() < 0.85 else rng.integers(len(PAINTS))
    paint = light * np.array(PAINTS[worn]) + rng.normal(0, 5, 3)
    inks = INKS | {tone: tuple((share * paint).clip(0, 255).astype(int).tolist()) for tone, share in SHARES.items()}
    sprite = Image.new("RGBA", (ZOOM * width, ZOOM * height))
    pen = ImageDraw.Draw(sprite)
    for tone, points in parts:
        pen.polygon((ZOOM * (scale * (points - origin) + 0.5)).ravel().tolist(), fill=inks[tone])
    place = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    return _shaded(sprite.reduce(ZOOM), rng), place


def _outlines(drawing: str, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Each polygon's tone and points (N, 2), back to front; rotors stand at a random angle."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for part in drawing.strip().replace("\n", "|").split("|"):
        tone, shape, *pairs = part.split()
        points = np.array([pair.split(",") for pair in pairs], np.float64)
        blades = int(shape.removeprefix("rotor")) if shape.startswith("rotor") else 0
        centre, radii = points[:2]
        if shape == "round":
            for _ in range(3):  # Chaikin: each corner gives way to two, a quarter along its edges
                after = np.roll(points, -1, axis=0)
                points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1).reshape(-1, 2)
        elif shape != "poly":
            points = centre + radii * circle
        yield "disc" if blades else tone, points
        for angle in 2 * np.pi * (np.arange(blades) + rng.random()) / max(blades, 1):
            tip = radii * [np.cos(angle), np.sin(angle)]
            half = 0.55 * np.array([-tip[1], tip[0]]) / np.hypot(*tip)
            yield tone, np.array([-half, half, tip + half, tip - half]) + centre


def _shaded(sprite: Image.Image, rng: np.random.Generator) -> Image.Image:
    """`sprite` lit from above, by the slope of its blurred outline, in worn or blotched paint."""
    reach = 1 + 0.02 * sprite.width
    relief = np.asarray(sprite.getchannel("A").filter(ImageFilter.GaussianBlur(reach)), np.float32)
    wear = _noise(rng, (sprite.height, sprite.width), (3, 5))
    wear = 0.15 * np.tanh(6 * wear) if rng.random() < 0.4 else 0.05 * wear
    light = 1 + 0.9 * reach / 255 * np.gradient(relief, axis=0) + wear
    pixels = np.array(sprite)
    pixels[..., :3] = (pixels[..., :3] * light[..., None]).clip(0, 255)
    return Image.fromarray(pixels)


def _backdrop(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A clouded sky and, in most frames, hills over a sea, grass, sand or a runway."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    zenith, low, cloud = SKIES[rng.integers(len(SKIES))]
    frame = Image.new("RGB", size, zenith)
    _wash(frame, low, y)
    _wash(frame, cloud, (0.6 * _noise(rng, (height, width), (4, 3)) - rng.uniform(-0.2, 0.6)).clip(0, 0.85))
    view = rng.random()
    if view < 0.4:
        return frame
    horizon = rng.uniform(0.5, 0.95) if view < 0.9 else -0.3  # the last: seen from above, no sky left
    kind = rng.choice(list(GROUNDS))
    far, near, hills = GROUNDS[kind]
    for nearness in (0.4, 0.6):  # farther hills let more of the sky through
        ridge = horizon - 0.05 * (1.5 - nearness + _noise(rng, (2, width), (1, 4))[0]).clip(0)
        _wash(frame, hills, nearness * (height * (y - ridge)).clip(0, 1))
    depth = ((y - horizon) / (1 - horizon)).clip(0, 1)
    _wash(frame, far, height * (y - horizon))
    _wash(frame, near, depth)
    if kind == "runway":
        across = abs(depth - rng.uniform(0.2, 0.8) - rng.uniform(-0.2, 0.2) * x)
        _wash(frame, "#808284", height * (0.15 - across))
        _wash(frame, "#dcdcd6", height * (0.008 - abs(across - 0.12)))
    # Rows crowd towards the horizon, as waves and furrows do.
    texture = _noise(rng, (height, width), (24, 8))[(depth[:, 0] ** 0.4 * (height - 1)).astype(int)]
    _wash(frame, "#141e1e", 0.16 * texture * (depth > 0))
    _wash(frame, "#ecece0", -0.12 * texture * (depth > 0))
    return frame


def _wash(frame: Image.Image, colour: str, share: Array) -> None:
    """Lay `colour` over `frame`, as thick as `share` (H, W) says: at 0 a pixel stays, at 1 it is covered."""
    frame.paste(colour, mask=Image.fromarray((255 * share.clip(0, 1)).astype(np.uint8)))


def _noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Soft noise about 0 of `shape` (H, W), its widest waves as long as one of `cells` (down, across)."""
    field = Image.new("F", (1, 1))
    for octave in range(5):
        down, across = cells[0] << octave, cells[1] << octave
        finer = np.float32(0.5**octave) * rng.standard_normal((down, across), np.float32)
        field = Image.fromarray(finer + np.asarray(field.resize((across, down), Image.Resampling.BICUBIC)))
    return np.asarray(field.resize(shape[::-1], Image.Resampling.BICUBIC))
