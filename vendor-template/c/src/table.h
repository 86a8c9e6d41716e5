/* What acme-npu can run. */
#define TABLE                                                                                                          \
    "[vendor]\n"                                                                                                       \
    "name = 'acme-npu'\n"                                                                                              \
    "version = '0.1.0'\n"                                                                                              \
    "static_shapes = true\n"                                                                                           \
    "[[pattern]]\n"                                                                                                    \
    "name = 'conv_relu'\n"                                                                                             \
    "priority = 10\n"                                                                                                  \
    "match = '''\n"                                                                                                    \
    "c = Conv(x, w: const, b?: const)\n"                                                                               \
    "y = Relu(c)\n"                                                                                                    \
    "'''\n"                                                                                                            \
    "where = [\"y.dtype == 'float32'\", 'x.rank == 4', 'c.attr.group == 1', \"c.attr.auto_pad == 'NOTSET'\"]\n"        \
    "[[pattern]]\n"                                                                                                    \
    "name = 'matmul_add'\n"                                                                                            \
    "priority = 10\n"                                                                                                  \
    "match = '''\n"                                                                                                    \
    "p = MatMul(a, b)\n"                                                                                               \
    "y = Add(p, c)\n"                                                                                                  \
    "'''\n"                                                                                                            \
    "where = [\"y.dtype == 'float32'\", 'a.rank == 2', 'b.rank == 2',\n"                                               \
    "         'c.shape == y.shape || c.shape == [y.shape[1]]']\n"                                                      \
    "[[pattern]]\n"                                                                                                    \
    "name = 'add'\n"                                                                                                   \
    "match = 'y = Add(a, b)'\n"                                                                                        \
    "where = [\"y.dtype == 'float32'\", 'a.shape == b.shape', 'a.rank <= 4']\n"
