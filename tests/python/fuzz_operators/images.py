"""Resizing, sampling and regions of images."""

import numpy as np

from fuzz_values import DTYPES, ints
from .registry import Call, maybe, operator


@operator("Resize", constants=(1, 2, 3), quanta=1)
def resize(d):
    shape = [d.int(1, 2), d.int(1, 3), d.int(2, 7), d.int(2, 7)]
    mode = d.pick(["nearest", "linear", "cubic"] if d.opset >= 11 else ["nearest", "linear"])
    scales = [1.0, 1.0, d.pick([0.5, 1.5, 2.0, 3.0]), d.pick([0.6, 1.0, 2.0, 2.5])]
    if d.opset < 11:
        return Call([d.plain(shape, low=-9, high=9), np.array(scales, np.float32)], {"mode": mode})
    ways = ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"]
    ways += ["half_pixel_symmetric"] if d.opset >= 19 else []
    attributes = {"mode": mode} | maybe(d, coordinate_transformation_mode=d.pick(ways))
    if mode == "nearest":
        attributes |= maybe(d, nearest_mode=d.pick(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    if mode == "cubic":
        attributes |= maybe(d, cubic_coeff_a=-0.5, exclude_outside=d.int(0, 1))
    if d.opset >= 18 and mode != "nearest":
        attributes |= maybe(d, 0.3, antialias=1)
    region = None if d.opset >= 13 else np.array([], np.float32)
    x = d.plain(shape, low=-9, high=9)
    if d.chance(0.5):
        return Call([x, region, np.array(scales, np.float32)], attributes, atol=1e-4)
    sizes = ints([*shape[:2], d.int(1, 15), d.int(1, 15)])
    return Call([x, region, None if d.opset >= 13 else np.array([], np.float32), sizes], attributes, atol=1e-4)


@operator("Upsample", quanta=1)
def upsample(d):
    shape = [d.int(1, 2), d.int(1, 3), d.int(2, 7), d.int(2, 7)]
    scales = [1.0, 1.0, d.pick([1.5, 2.0, 3.0]), d.pick([1.0, 2.0, 2.5])]
    mode = {"mode": d.pick(["nearest", "linear"])}
    if d.opset < 9:
        return Call([d.plain(shape, low=-9, high=9)], mode | {"scales": scales})
    return Call([d.plain(shape, low=-9, high=9), np.array(scales, np.float32)], mode)


@operator("GridSample")
def grid_sample(d):
    rank = 2 if d.opset < 20 or d.chance(0.7) else 3
    dims, to = ([d.int(2, 6) for _ in range(rank)] for _ in range(2))
    batch = d.int(1, 2)
    modes = ["bilinear", "nearest", "bicubic"] if d.opset < 20 else ["linear", "nearest", "cubic"][: 3 if rank == 2 else 2]
    attributes = maybe(d, mode=d.pick(modes), align_corners=d.int(0, 1))
    attributes |= maybe(d, padding_mode=d.pick(["zeros", "border", "reflection"]))
    return Call([d.plain([batch, d.int(1, 3), *dims]), d.plain([batch, *to, rank], "double" if d.dtype == "double" else "float", -1.3, 1.3)], attributes, atol=1e-3)


@operator("AffineGrid")
def affine_grid(d):
    rank = d.int(2, 3)
    batch = d.int(1, 3)
    size = ints([batch, d.int(1, 3)] + [d.int(1, 6) for _ in range(rank)])
    return Call([d.plain([batch, rank, rank + 1]), size], maybe(d, align_corners=d.int(0, 1)))


@operator("RoiAlign")
def roi_align(d):
    shape = [d.int(1, 3), d.int(1, 3), d.int(3, 9), d.int(3, 9)]
    count = d.int(1, 4)
    corners = np.sort(d.rng.uniform(0, 8, [count, 2, 2]), axis=1).reshape(count, 4).astype(DTYPES[d.dtype])
    attributes = maybe(d, output_height=d.int(1, 4), output_width=d.int(1, 4), sampling_ratio=d.int(0, 3))
    attributes |= maybe(d, mode=d.pick(["avg", "max"]), spatial_scale=d.pick([0.5, 1.0]))
    if d.opset >= 16:
        attributes |= maybe(d, coordinate_transformation_mode=d.pick(["half_pixel", "output_half_pixel"]))
    return Call([d.plain(shape), corners, d.rng.integers(0, shape[0], count)], attributes, atol=1e-4)


@operator("MaxRoiPool")
def max_roi_pool(d):
    shape = [d.int(1, 3), d.int(1, 3), d.int(3, 9), d.int(3, 9)]
    count = d.int(1, 4)
    corners = np.sort(d.rng.integers(0, 8, [count, 2, 2]), axis=1).reshape(count, 4)
    rois = np.concatenate([d.rng.integers(0, shape[0], [count, 1]), corners], axis=1)
    return Call([d.plain(shape), rois.astype(DTYPES[d.dtype])], {"pooled_shape": [d.int(1, 3), d.int(1, 3)]})


@operator("NonMaxSuppression")
def non_max_suppression(d):
    batch, boxes, classes = d.int(1, 2), d.int(1, 9), d.int(1, 3)
    corners = np.sort(d.rng.uniform(0, 1, [batch, boxes, 2, 2]), axis=2).reshape(batch, boxes, 4)
    scores = d.rng.uniform(0, 1, [batch, classes, boxes]).astype(np.float32)
    options = [ints([d.int(0, 5)]), np.array([d.uniform(0, 1)], np.float32), np.array([d.uniform(0, 0.6)], np.float32)]
    given = options[: d.int(0, 3)]
    return Call([corners.astype(np.float32), scores, *given], maybe(d, center_point_box=d.int(0, 1)))


@operator("Col2Im")
def col2im(d):
    image_, block = [d.int(3, 7), d.int(3, 7)], [d.int(1, 3), d.int(1, 3)]
    attributes = maybe(d, strides=[d.int(1, 2), d.int(1, 2)], pads=[d.int(0, 1) for _ in range(4)])
    steps, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0] * 4)
    count = [(image_[i] + pads[i] + pads[i + 2] - block[i]) // steps[i] + 1 for i in range(2)]
    shape = [d.int(1, 2), d.int(1, 3) * block[0] * block[1], count[0] * count[1]]
    return Call([d.plain(shape), ints(image_), ints(block)], attributes, atol=1e-4)


@operator("MaxUnpool")
def max_unpool(d):
    shape = [1, d.int(1, 2), d.int(1, 4), d.int(1, 4)]
    where = np.arange(int(np.prod(shape[2:]))).reshape(shape[2:])
    rows, columns = np.unravel_index(where, shape[2:])
    flat = rows * 2 * shape[3] * 2 + columns * 2
    planes = np.arange(shape[1]).reshape(1, -1, 1, 1) * shape[2] * shape[3] * 4
    return Call([d.plain(shape), ints(flat[None, None] + planes)], {"kernel_shape": [2, 2], "strides": [2, 2]})


@operator("DeformConv")
def deform_conv(d):
    batch, channels, maps, kernel = d.int(1, 2), d.int(1, 3), d.int(1, 3), d.int(1, 3)
    size = d.int(kernel, 7)
    to = size - kernel + 1
    offset = d.plain([batch, 2 * kernel * kernel, to, to], None, -1, 1)
    inputs = [d.plain([batch, channels, size, size]), d.plain([maps, channels, kernel, kernel]), offset]
    bias = d.plain([maps]) if d.chance(0.5) else None
    mask = [bias, d.plain([batch, kernel * kernel, to, to])] if d.chance(0.5) else [bias]
    return Call(inputs + mask, {"kernel_shape": [kernel, kernel], "pads": [0, 0, 0, 0]}, atol=1e-3, rtol=1e-3)
