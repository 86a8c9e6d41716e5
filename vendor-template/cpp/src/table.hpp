// What acme-npu can run.
#pragma once

constexpr char TABLE[] = R"toml(
[vendor]
name = "acme-npu"
version = "0.1.0"
static_shapes = true

[[pattern]]
name = "conv_relu"
priority = 10
match = """
c = Conv(x, w: const, b?: const)
y = Relu(c)
"""
where = ["y.dtype == 'float32'", "x.rank == 4", "c.attr.group == 1", "c.attr.auto_pad == 'NOTSET'"]

[[pattern]]
name = "matmul_add"
priority = 10
match = """
p = MatMul(a, b)
y = Add(p, c)
"""
where = ["y.dtype == 'float32'", "a.rank == 2", "b.rank == 2", "c.shape == y.shape || c.shape == [y.shape[1]]"]

[[pattern]]
name = "add"
match = "y = Add(a, b)"
where = ["y.dtype == 'float32'", "a.shape == b.shape"]
)toml";
