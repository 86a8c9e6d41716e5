"""To and from whole numbers with a scale."""

from fuzz_values import FLOATS
from .registry import Call, operator


@operator("QuantizeLinear", quanta=1)
def quantize(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    each = [shape[axis]] if d.opset >= 13 and d.chance(0.4) else []
    attributes = {"axis": axis} if d.opset >= 13 else {}
    target = d.pick(["uint8", "int8"] + (["int16", "uint16"] if d.opset >= 21 else []))
    zero = [d.whole(each, target, 0, 99)] if d.chance(0.8) else []
    scale_type = d.dtype if d.dtype in FLOATS else "float"
    return Call([d.plain(shape), d.plain(each, scale_type, 0.02, 0.5), *zero], attributes)


@operator("DequantizeLinear", dtypes=("int8", "uint8", "int32", "int16", "uint16"))
def dequantize(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    each = [shape[axis]] if d.opset >= 13 and d.chance(0.4) else []
    zero = [d.whole(each, d.dtype, 0, 99)] if d.dtype != "int32" and d.chance(0.8) else []
    return Call([d.tensor(shape), d.plain(each, "float", 0.02, 0.5), *zero], {"axis": axis} if d.opset >= 13 else {})


@operator("DynamicQuantizeLinear", quanta=1)
def dynamic_quantize(d):
    return Call([d.plain(d.shape(1, empty=0))], outputs=3)
