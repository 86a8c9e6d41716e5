/* A BYOC plugin for acme-npu. The framework finds the parts of a model that TABLE describes and gives each to `compile`
 * as a region; what that makes of it runs in its place. The host makes one call at a time. */
#include <byoc.h>
#include <stdlib.h>

#include "kernels.h"
#include "table.h"

typedef struct {
    int64_t elements, dims[4];
    float *data; /* a constant, an input of the present execution, or memory of our own */
    int is_own;
} value;

/* An instruction of the device, for one composite of the region. */
typedef struct {
    enum { CONV_RELU, MATMUL_ADD, ADD } kernel;
    value *values[4]; /* three operands, NULL for one that is missing, and the result */
    conv_shape conv;
} instruction;

/* One block of memory: the instructions lie behind the values. */
typedef struct {
    uint64_t values_len, instructions_len;
    instruction *instructions;
    value values[];
} program;

static void destroy(void *executable) {
    program *self = (program *)executable;
    for (uint64_t index = 0; index < self->values_len; index++) {
        free(self->values[index].is_own ? self->values[index].data : NULL);
    }
    free(self);
}

static byoc_error *read_value(value *to, const byoc_compile_args *args, uint64_t index) {
    byoc_region_value_args from;
    byoc_str constant;
    BYOC_CHECK(byoc_value(args->region, index, &from));
    if (!byoc_shape(&from, 4, to->dims, &to->elements)) {
        return byoc_fail(BYOC_ERROR_UNSUPPORTED, "only known shapes of at most four dimensions");
    }
    to->is_own = from.producer != BYOC_NONE;
    to->data = to->is_own ? (float *)malloc((size_t)(to->elements + 1) * sizeof(float)) : NULL;
    if (from.constant != BYOC_NONE) {
        BYOC_CHECK(byoc_get_constant(args->constants, from.constant, &constant));
        to->data = (float *)constant.data; /* never written to */
    }
    return to->is_own && to->data == NULL ? byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory for a value") : NULL;
}

/* Code generation: what a composite becomes. */
static byoc_error *generate(instruction *to, value *values, const byoc_region *region,
                            const byoc_region_composite_args *composite) {
    byoc_region_node_args conv;
    const int is_conv = byoc_equal(composite->pattern, "conv_relu");
    const char *names[4] = {is_conv ? "x" : "a", is_conv ? "w" : "b", is_conv ? "b" : "c", "y"};
    to->kernel = is_conv ? CONV_RELU : byoc_equal(composite->pattern, "matmul_add") ? MATMUL_ADD : ADD;
    for (int index = 0; index < 4; index++) {
        const uint64_t at = byoc_bound(composite, names[index]);
        to->values[index] = at == BYOC_NONE ? NULL : &values[at];
    }
    if (is_conv) {
        to->conv = (conv_shape){to->values[0]->dims, to->values[1]->dims, to->values[3]->dims, {0}, {0}, {0}};
        BYOC_CHECK(byoc_node(region, composite->nodes.data[0], &conv));
        BYOC_CHECK(byoc_find_ints(region, &conv, "strides", 2, 1, to->conv.strides));
        BYOC_CHECK(byoc_find_ints(region, &conv, "dilations", 2, 1, to->conv.dilations));
        BYOC_CHECK(byoc_find_ints(region, &conv, "pads", 2, 0, to->conv.pads));
    }
    return NULL;
}

static byoc_error *fill(program *self, const byoc_compile_args *args, uint64_t nodes) {
    byoc_region_composite_args composite;
    for (uint64_t index = 0; index < self->values_len; index++) {
        BYOC_CHECK(read_value(&self->values[index], args, index));
    }
    for (uint64_t index = 0; index < nodes; index++) {
        /* Where the last node of a composite is due, its operands are there. */
        BYOC_CHECK(byoc_composite_ending(args->region, index, &composite));
        if (composite.nodes.len > 0) {
            BYOC_CHECK(generate(&self->instructions[self->instructions_len++], self->values, args->region, &composite));
        }
    }
    return NULL;
}

static byoc_error *compile(byoc_compile_args *args) {
    byoc_region_info_args info;
    BYOC_CHECK(byoc_info(args->region, &info));
    const size_t values_size = (size_t)info.values * sizeof(value);
    program *self = (program *)calloc(1, sizeof *self + values_size + (size_t)info.composites * sizeof(instruction));
    if (self == NULL) {
        return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory for a program");
    }
    self->values_len = info.values;
    self->instructions = (instruction *)((char *)self->values + values_size);
    byoc_error *error = fill(self, args, info.nodes);
    if (error != NULL) {
        destroy(self);
        return error;
    }
    args->executable = self;
    return NULL;
}

static byoc_error *execute(byoc_execute_args *args) {
    program *self = (program *)args->executable;
    for (uint64_t index = 0; index < args->inputs_len; index++) {
        self->values[args->inputs[index]->value].data = (float *)byoc_data(args->inputs[index]);
    }
    for (uint64_t index = 0; index < self->instructions_len; index++) {
        const instruction *now = &self->instructions[index];
        const value *a = now->values[0], *b = now->values[1], *c = now->values[2], *y = now->values[3];
        switch (now->kernel) {
        case CONV_RELU: conv_relu(&now->conv, a->data, b->data, c == NULL ? NULL : c->data, y->data); break;
        case MATMUL_ADD: matmul_add(a->dims, b->dims, c->elements, a->data, b->data, c->data, y->data); break;
        case ADD: add(y->elements, a->data, b->data, y->data); break;
        }
    }
    for (uint64_t index = 0; index < args->outputs_len; index++) {
        byoc_tensor *to = args->outputs[index];
        memcpy(byoc_data(to), self->values[to->value].data, (size_t)to->byte_len);
    }
    return NULL;
}

BYOC_PLUGIN("acme-npu", "0.1.0", TABLE, compile, execute, destroy);
