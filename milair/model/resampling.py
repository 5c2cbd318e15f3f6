"""Pillow's bilinear resize as ONNX, the same pixels to the last bit; a picture's size is known when the graph runs.

Pillow resizes 8-bit pictures in two passes, each rounded to whole pixel values. Its weights are whole numbers of
2**-22: computed in float64 and summed in int32, here as there. Columns come first; rows do if they shrink, and by more
than twice as many pixels (a rule of Pillow 13, found by comparing pixels).

No Python runs these functions: onnxscript reads their text and makes functions of a graph of them. `to` is a data type
of ONNX: 1 float32, 2 uint8, 6 int32, 7 int64, 11 float64, 12 uint32.
"""

# mypy: ignore-errors
from onnxscript import UINT8, script
from onnxscript import opset18 as op


@script(default_opset=op)
def resampled(pixels, start, end, outputs) -> UINT8[...]:
    """One pass: rows uint8 [rows, m], of which those from `start` to `end` (float32) become uint8 [outputs, m]."""
    begin, scale = op.Cast(start, to=11), op.Cast(end - start, to=11) / op.Cast(outputs, to=11)
    reach = op.Max(scale, op.CastLike(1.0, scale))
    centres = begin + (op.Cast(op.Range(0, outputs, 1), to=11) + 0.5) * scale
    first = op.Unsqueeze(op.Max(op.Cast(centres - reach + 0.5, to=7), 0), [1])
    last = op.Unsqueeze(op.Min(op.Cast(centres + reach + 0.5, to=7), op.Gather(op.Shape(pixels), 0)), [1])
    taps = op.Cast(op.Ceil(reach), to=7) * 2 + 1
    rows = first + op.Range(0, taps, 1)  # [outputs, taps]
    distances = op.Abs((op.Cast(rows, to=11) - op.Unsqueeze(centres, [1]) + 0.5) * (1.0 / reach))
    weights = op.Relu(1.0 - distances) * op.Cast(rows < last, to=11)
    shares = op.Floor(weights / op.ReduceSum(weights, [1], keepdims=1) * 4194304.0 + 0.5)
    share_of = op.Unsqueeze(op.Transpose(op.Cast(shares, to=6), perm=[1, 0]), [2])  # [taps, outputs, 1]
    row_of = op.Transpose(op.Min(rows, last - 1), perm=[1, 0])
    total = op.Cast(op.Gather(pixels, op.Gather(row_of, 0)), to=6) * op.Gather(share_of, 0) + 2097152
    for tap in range(taps - 1):
        row, share = op.Gather(row_of, tap + 1), op.Gather(share_of, tap + 1)
        total = total + op.Cast(op.Gather(pixels, row), to=6) * share
    return op.Cast(op.BitShift(op.Cast(total, to=12), op.Cast(22, to=12), direction="RIGHT"), to=2)


@script(default_opset=op)
def two_passes(pixels, start, end, outputs, then_start, then_end, then_outputs) -> UINT8[...]:
    """Pixels uint8 [rows, columns, m]: their rows, then their columns, which come first: [then_outputs, outputs, m]."""
    rest = op.Shape(pixels, start=1)
    flat = op.Reshape(pixels, op.Concat(op.Shape(pixels, start=0, end=1), [-1], axis=0))
    once = op.Reshape(resampled(flat, start, end, outputs), op.Concat([-1], rest, axis=0))
    turned = op.Transpose(once, perm=[1, 0, 2])
    flat = op.Reshape(turned, op.Concat(op.Shape(turned, start=0, end=1), [-1], axis=0))
    twice = resampled(flat, then_start, then_end, then_outputs)
    return op.Reshape(twice, op.Concat(op.Reshape(then_outputs, [1]), op.Shape(turned, start=1), axis=0))


@script(default_opset=op)
def resized(pixels, left, top, right, bottom, width, height) -> UINT8[...]:
    """What a box (float32, in pixels) shows of pixels uint8 [rows, columns, m]: uint8 [height, width, m]."""
    shape = op.Shape(pixels)
    fewer_rows, fewer_columns = op.Gather(shape, 0) - height, op.Gather(shape, 1) - width
    rows_first = fewer_rows > op.Max(fewer_columns * 2, 0)
    if rows_first:  # noqa: SIM108
        before = op.Identity(pixels)
    else:
        before = op.Transpose(pixels, perm=[1, 0, 2])
    start, end = op.Where(rows_first, top, left), op.Where(rows_first, bottom, right)
    then_start, then_end = op.Where(rows_first, left, top), op.Where(rows_first, right, bottom)
    outputs, then_outputs = op.Where(rows_first, height, width), op.Where(rows_first, width, height)
    after = two_passes(before, start, end, outputs, then_start, then_end, then_outputs)
    if rows_first:  # noqa: SIM108
        shown = op.Transpose(after, perm=[1, 0, 2])
    else:
        shown = op.Identity(after)
    return shown


@script(default_opset=op)
def shrunk(pictures, width: int, height: int) -> UINT8[...]:
    """Pictures uint8 [n, rows, columns, 3] without keeping the aspect: uint8 [n, 3, height, width]."""
    shape = op.Shape(pictures)
    columns, rows = op.Cast(op.Gather(shape, 2), to=1), op.Cast(op.Gather(shape, 1), to=1)
    together = op.Reshape(
        op.Transpose(pictures, perm=[1, 2, 0, 3]), op.Concat(op.Shape(pictures, start=1, end=3), [-1], axis=0)
    )
    wide, high = op.Constant(value_int=width), op.Constant(value_int=height)
    small = resized(together, 0.0, 0.0, columns, rows, wide, high)
    apart = op.Concat(op.Shape(small, start=0, end=2), [-1, 3], axis=0)
    return op.Transpose(op.Reshape(small, apart), perm=[2, 3, 0, 1])


@script(default_opset=op)
def cut_out(pictures, crops, side: int) -> UINT8[...]:
    """What crops float32 [n, 4], in shares, show of pictures uint8 [n, rows, columns, 3]: uint8 [n, 3, side, side]."""
    shape = op.Cast(op.Gather(op.Shape(pictures), [2, 1, 2, 1]), to=11)
    sides = op.Cast(crops, to=11) * shape
    length = op.Constant(value_int=side)
    count = op.Gather(op.Shape(pictures), 0)
    all_shown = op.Expand(
        op.Cast(0, to=2), op.Concat([0], op.Reshape(length, [1]), op.Reshape(length, [1]), [3], axis=0)
    )
    for number in range(count):
        near, far = op.Split(op.Gather(sides, number), num_outputs=2)  # (left, top), (right, bottom)
        begin, end = op.Floor(near), op.Ceil(far)
        first, last = op.Cast(begin, to=7), op.Cast(end, to=7)
        columns = op.Range(op.Gather(first, 0), op.Gather(last, 0), 1)
        rows = op.Range(op.Gather(first, 1), op.Gather(last, 1), 1)
        picture = op.Gather(pictures, number)
        # Beyond its edge a picture goes on as at its edge.
        rows_inside = op.Min(op.Max(rows, 0), op.Gather(op.Shape(picture), 0) - 1)
        columns_inside = op.Min(op.Max(columns, 0), op.Gather(op.Shape(picture), 1) - 1)
        region = op.Gather(op.Gather(picture, rows_inside, axis=0), columns_inside, axis=1)
        start, stop = op.Cast(near - begin, to=1), op.Cast(far - begin, to=1)
        shown = resized(
            region, op.Gather(start, 0), op.Gather(start, 1), op.Gather(stop, 0), op.Gather(stop, 1), length, length
        )
        all_shown = op.Concat(all_shown, op.Unsqueeze(shown, [0]), axis=0)
    return op.Transpose(all_shown, perm=[0, 3, 1, 2])
