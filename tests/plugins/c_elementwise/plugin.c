/* A plugin in C: Add, Mul and Relu of float32 tensors of one shape. It walks the region through the host. */
#include <byoc.h>
#include <stdlib.h>

static const char ADD[] = "Add", MUL[] = "Mul", RELU[] = "Relu";

/* One operation on the values of the region, by their indices. */
typedef struct {
    const char *op;
    uint64_t left, right, result;
} step;

typedef struct {
    uint64_t elements, values, steps_len, inputs_len, outputs_len;
    uint64_t *inputs, *outputs;
    const float **constants; /* by value; NULL where it is none */
    step *steps;
} program;

static void destroy(void *executable) {
    program *self = (program *)executable;
    if (self != NULL) {
        free(self->inputs);
        free(self->outputs);
        free(self->constants);
        free(self->steps);
        free(self);
    }
}

static void *zeroed(uint64_t count, size_t size) {
    return calloc(count > 0 ? (size_t)count : 1, size);
}

static byoc_error *add_step(program *self, const byoc_region *region, uint64_t index) {
    byoc_region_node_args node;
    step *next = &self->steps[index];
    BYOC_CHECK(byoc_node(region, index, &node));
    next->op = byoc_equal(node.op, ADD) ? ADD : byoc_equal(node.op, MUL) ? MUL : byoc_equal(node.op, RELU) ? RELU : NULL;
    if (next->op == NULL || node.inputs.len != (next->op == RELU ? 1u : 2u) || node.outputs.len != 1) {
        return byoc_fail_at(BYOC_ERROR_UNSUPPORTED, index, 0, "only Add, Mul and Relu");
    }
    next->left = node.inputs.data[0];
    next->right = node.inputs.data[node.inputs.len - 1];
    next->result = node.outputs.data[0];
    return NULL;
}

/* Every value has one shape and type; constants are kept by address. */
static byoc_error *add_value(program *self, const byoc_compile_args *args, uint64_t index) {
    byoc_region_value_args value;
    byoc_str data;
    int known;
    uint64_t elements;
    BYOC_CHECK(byoc_value(args->region, index, &value));
    elements = byoc_elements(&value, &known);
    if (index == 0) {
        self->elements = elements;
    }
    if (!known || elements != self->elements || value.dtype.code != BYOC_DTYPE_FLOAT || value.dtype.bits != 32) {
        return byoc_fail(BYOC_ERROR_UNSUPPORTED, "only float32 tensors of one known shape");
    }
    if (value.constant != BYOC_NONE) {
        BYOC_CHECK(byoc_get_constant(args->constants, value.constant, &data));
        self->constants[index] = (const float *)data.data;
    }
    return NULL;
}

static byoc_error *fill(program *self, const byoc_compile_args *args, const byoc_region_info_args *info) {
    uint64_t index;
    memcpy(self->inputs, info->inputs.data, (size_t)info->inputs.len * sizeof(uint64_t));
    memcpy(self->outputs, info->outputs.data, (size_t)info->outputs.len * sizeof(uint64_t));
    for (index = 0; index < info->values; index++) {
        BYOC_CHECK(add_value(self, args, index));
    }
    for (index = 0; index < info->nodes; index++) {
        BYOC_CHECK(add_step(self, args->region, index));
    }
    return NULL;
}

static byoc_error *compile(byoc_compile_args *args) {
    byoc_region_info_args info;
    byoc_error *error;
    program *self;
    BYOC_CHECK(byoc_info(args->region, &info));
    self = (program *)zeroed(1, sizeof *self);
    if (self == NULL) {
        return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory for a program");
    }
    self->values = info.values;
    self->steps_len = info.nodes;
    self->inputs_len = info.inputs.len;
    self->outputs_len = info.outputs.len;
    self->inputs = (uint64_t *)zeroed(info.inputs.len, sizeof(uint64_t));
    self->outputs = (uint64_t *)zeroed(info.outputs.len, sizeof(uint64_t));
    self->constants = (const float **)zeroed(info.values, sizeof(float *));
    self->steps = (step *)zeroed(info.nodes, sizeof(step));
    if (self->inputs == NULL || self->outputs == NULL || self->constants == NULL || self->steps == NULL) {
        destroy(self);
        return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory for a program");
    }
    error = fill(self, args, &info);
    if (error != NULL) {
        destroy(self);
        return error;
    }
    args->executable = self;
    return NULL;
}

/* What the body of the parallel loop needs; `values` by index. */
typedef struct {
    const step *now;
    const float **values;
    float *result;
} job;

static void compute(void *user, uint64_t i) {
    const job *work = (const job *)user;
    float left = work->values[work->now->left][i], right = work->values[work->now->right][i];
    work->result[i] = work->now->op == ADD ? left + right : work->now->op == MUL ? left * right : left > 0 ? left : 0;
}

static byoc_error *run(const program *self, byoc_execute_args *args, const float **values, float *scratch) {
    uint64_t index;
    memcpy(values, self->constants, (size_t)self->values * sizeof *values);
    for (index = 0; index < self->inputs_len; index++) {
        values[self->inputs[index]] = (const float *)byoc_data(args->inputs[index]);
    }
    for (index = 0; index < self->steps_len; index++) {
        job work;
        work.now = &self->steps[index];
        work.values = values;
        work.result = scratch + index * self->elements;
        BYOC_CHECK(byoc_parallel_for(args->call, self->elements, compute, &work));
        values[work.now->result] = work.result;
    }
    for (index = 0; index < self->outputs_len; index++) {
        memcpy(byoc_data(args->outputs[index]), values[self->outputs[index]], (size_t)self->elements * sizeof(float));
    }
    return NULL;
}

static byoc_error *execute(byoc_execute_args *args) {
    const program *self = (const program *)args->executable;
    const float **values = (const float **)zeroed(self->values, sizeof(float *));
    float *scratch = (float *)zeroed(self->steps_len * self->elements, sizeof(float));
    byoc_error *error = values == NULL || scratch == NULL ? byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no scratch memory")
                                                          : run(self, args, values, scratch);
    free(values);
    free(scratch);
    return error;
}

#define TABLE                                                                                                          \
    "[vendor]\n"                                                                                                       \
    "name = \"c-elementwise\"\n"                                                                                       \
    "static_shapes = true\n"                                                                                           \
    "[[pattern]]\n"                                                                                                    \
    "name = \"binary\"\n"                                                                                              \
    "match = \"y = Add|Mul(a, b)\"\n"                                                                                  \
    "where = [\"y.dtype == 'float32'\", \"a.shape == b.shape\"]\n"                                                     \
    "[[pattern]]\n"                                                                                                    \
    "name = \"relu\"\n"                                                                                                \
    "match = \"y = Relu(x)\"\n"                                                                                        \
    "where = [\"y.dtype == 'float32'\"]\n"

BYOC_PLUGIN("c-elementwise", "0.1.0", TABLE, compile, execute, destroy);
