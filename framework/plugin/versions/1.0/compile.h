/* Regions made into blocks of words, and what an executable has beside them. */

enum { MAX_RANK = 8, BLOCK = 1024, MAGIC = 0x6b657074, WORDS_A_STEP = 5, WORDS_A_CONSTANT = 2 + MAX_RANK };
enum { ADD, MUL, RELU, LEAKY, NONZERO, OPERATORS };
static const char *const NAMES[OPERATORS] = {"Add", "Mul", "Relu", "LeakyRelu", "NonZero"};

/* --- Programs: one block of words, which is what an artefact holds --- */

enum { W_MAGIC, W_VALUES, W_STEPS, W_INPUTS, W_OUTPUTS, W_CONSTANTS, W_DEVICE_KIND, W_DEVICE_ID, HEADER };

typedef struct {
    uint64_t *words, len;
    /* Parts of the block: operator, left, right, result and bits of alpha; values; value, rank and dimensions. */
    uint64_t *steps, *inputs, *outputs, *constants;
    /* By constant: content, which is its own where it was released, and a tensor that has its shape. */
    float **owned;
    byoc_tensor *tensors;
    byoc_io_spec *specs;
    const byoc_io_spec **spec_pointers;
} program;

typedef struct {
    uint64_t runs, ns;
} run_state;

static void *zeroed(uint64_t count, size_t size) {
    return count > SIZE_MAX / 2 / size ? NULL : calloc(count > 0 ? (size_t)count : 1, size);
}

static byoc_error *no_memory(void) {
    return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory");
}

static void destroy(void *executable) {
    program *self = (program *)executable;
    uint64_t index;
    if (self == NULL) {
        return;
    }
    for (index = 0; self->owned != NULL && index < self->words[W_CONSTANTS]; index++) {
        free(self->owned[index]);
    }
    free(self->words);
    free(self->owned);
    free(self->tensors);
    free(self->specs);
    free((void *)self->spec_pointers);
    free(self);
}

static uint64_t words_of(const uint64_t *header) {
    return HEADER + header[W_STEPS] * WORDS_A_STEP + header[W_INPUTS] + header[W_OUTPUTS] +
           header[W_CONSTANTS] * WORDS_A_CONSTANT;
}

static program *new_program(const uint64_t *header) {
    program *self = (program *)zeroed(1, sizeof *self);
    uint64_t specs = header[W_INPUTS] + header[W_OUTPUTS];
    if (self == NULL) {
        return NULL;
    }
    self->len = words_of(header);
    self->words = (uint64_t *)zeroed(self->len, sizeof(uint64_t));
    self->owned = (float **)zeroed(header[W_CONSTANTS], sizeof(float *));
    self->tensors = (byoc_tensor *)zeroed(header[W_CONSTANTS], sizeof(byoc_tensor));
    self->specs = (byoc_io_spec *)zeroed(specs, sizeof(byoc_io_spec));
    self->spec_pointers = (const byoc_io_spec **)zeroed(specs, sizeof(void *));
    if (self->words == NULL || self->owned == NULL || self->tensors == NULL || self->specs == NULL ||
        self->spec_pointers == NULL) {
        free(self->owned);
        self->owned = NULL;
        destroy(self);
        return NULL;
    }
    memcpy(self->words, header, HEADER * sizeof(uint64_t));
    self->steps = self->words + HEADER;
    self->inputs = self->steps + header[W_STEPS] * WORDS_A_STEP;
    self->outputs = self->inputs + header[W_INPUTS];
    self->constants = self->outputs + header[W_OUTPUTS];
    return self;
}

/* Whether a block can have come from `serialise`: an artefact may be anything. */
static int is_sound(const program *self, uint64_t constants) {
    const uint64_t *words = self->words;
    uint64_t index, at;
    for (index = 0; index < words[W_STEPS]; index++) {
        const uint64_t *step = self->steps + index * WORDS_A_STEP;
        for (at = 1; at < 4; at++) {
            if (step[at] >= words[W_VALUES] || step[0] >= OPERATORS) {
                return 0;
            }
        }
    }
    for (index = 0; index < words[W_INPUTS] + words[W_OUTPUTS]; index++) {
        if (self->inputs[index] >= words[W_VALUES]) {
            return 0;
        }
    }
    for (index = 0; index < words[W_CONSTANTS]; index++) {
        const uint64_t *constant = self->constants + index * WORDS_A_CONSTANT;
        if (constant[0] >= words[W_VALUES] || constant[1] > MAX_RANK) {
            return 0;
        }
    }
    return words[W_CONSTANTS] == constants;
}

static int makes(const program *self, uint64_t value, uint64_t operator_) {
    uint64_t index;
    for (index = 0; index < self->words[W_STEPS]; index++) {
        const uint64_t *step = self->steps + index * WORDS_A_STEP;
        if (step[3] == value && step[0] == operator_) {
            return 1;
        }
    }
    return 0;
}

/* What every program needs beside its words: constants, copied and released one by one, and what it wants of tensors. */
static byoc_error *finish(program *self, byoc_constants *constants) {
    static const int64_t DENSE[MAX_RANK] = {0};
    uint64_t index, inputs = self->words[W_INPUTS];
    for (index = 0; index < self->words[W_CONSTANTS]; index++) {
        uint64_t *constant = self->constants + index * WORDS_A_CONSTANT;
        byoc_constant_release_args release;
        byoc_str data;
        BYOC_CHECK(byoc_get_constant(constants, index, &data));
        self->owned[index] = (float *)zeroed(data.len, 1);
        if (self->owned[index] == NULL) {
            return no_memory();
        }
        memcpy(self->owned[index], data.data, data.len > 0 ? (size_t)data.len : 0);
        BYOC_INIT(release);
        release.constants = constants;
        release.index = index;
        BYOC_CHECK(byoc_the_sdk.host.constant_release(&release));
        BYOC_INIT(self->tensors[index]);
        self->tensors[index].data = self->owned[index];
        self->tensors[index].byte_len = data.len;
        self->tensors[index].rank = constant[1];
        self->tensors[index].shape = (const int64_t *)(constant + 2);
        self->tensors[index].strides = DENSE;
    }
    for (index = 0; index < inputs + self->words[W_OUTPUTS]; index++) {
        byoc_io_spec *spec = &self->specs[index];
        BYOC_INIT(*spec);
        self->spec_pointers[index] = spec;
        if (index >= inputs && makes(self, self->inputs[index], NONZERO)) {
            spec->device.kind = BYOC_DEVICE_HOST;
            spec->align = 8;
        } else if (index == inputs && self->words[W_STEPS] == 1 && inputs > 0) {
            spec->head.flags = BYOC_IO_ALIAS;
            spec->alias = 0;
        }
    }
    return NULL;
}

/* --- Compiling --- */

static byoc_error *compile_step(const byoc_region *region, uint64_t index, uint64_t *step) {
    byoc_region_node_args node;
    byoc_region_composite_args composite;
    byoc_region_attr_args alpha;
    BYOC_CHECK(byoc_node(region, index, &node));
    for (step[0] = 0; step[0] < OPERATORS && !byoc_equal(node.op, NAMES[step[0]]); step[0]++) {
    }
    if (step[0] == OPERATORS || node.inputs.len != (step[0] <= MUL ? 2u : 1u) || node.outputs.len != 1) {
        return byoc_fail_at(BYOC_ERROR_UNSUPPORTED, index, 0, "not one of its operators");
    }
    BYOC_CHECK(byoc_composite(region, node.composite, &composite));
    if (byoc_bound(&composite, "y") != node.outputs.data[0]) {
        return byoc_fail_at(BYOC_ERROR_INTERNAL, index, 0, "the pattern's y is not what the node makes");
    }
    step[1] = node.inputs.data[0];
    step[2] = node.inputs.data[node.inputs.len - 1];
    step[3] = node.outputs.data[0];
    BYOC_CHECK(byoc_find_attr(region, &node, "alpha", &alpha));
    memcpy(step + 4, &alpha.float_value, sizeof alpha.float_value);
    return NULL;
}

static byoc_error *compile_constant(const byoc_region *region, uint64_t index, program *self) {
    byoc_region_value_args value;
    int64_t axis;
    BYOC_CHECK(byoc_value(region, index, &value));
    if (value.constant != BYOC_NONE) {
        uint64_t *constant = self->constants + value.constant * WORDS_A_CONSTANT;
        if (value.rank < 0 || value.rank > MAX_RANK || value.dtype.code != BYOC_DTYPE_FLOAT || value.dtype.bits != 32) {
            return byoc_fail(BYOC_ERROR_UNSUPPORTED, "constants are float32 of a known rank up to 8");
        }
        constant[0] = index;
        constant[1] = (uint64_t)value.rank;
        for (axis = 0; axis < value.rank; axis++) {
            constant[2 + axis] = (uint64_t)value.dims[axis].size;
        }
    }
    return NULL;
}

/* What is asked of the region only to see that it is answered. */
static byoc_error *look_around(const byoc_region *region, const byoc_region_info_args *info) {
    byoc_region_symbol_args symbol;
    byoc_region_onnx_args onnx;
    byoc_error *error;
    for (uint64_t index = 0; index < info->symbols; index++) {
        BYOC_INIT(symbol);
        symbol.region = region;
        symbol.index = index;
        BYOC_CHECK(byoc_the_sdk.host.region_symbol(&symbol));
        if (symbol.min > symbol.likely || symbol.likely > symbol.max || symbol.name.len == 0) {
            return byoc_fail(BYOC_ERROR_INTERNAL, "a symbol without a range");
        }
    }
    BYOC_INIT(onnx);
    onnx.region = region;
    error = byoc_the_sdk.host.region_onnx(&onnx);
    if (error != NULL) {
        byoc_error_info_args told;
        byoc_error_drop_args drop;
        BYOC_INIT(told);
        told.error = error;
        BYOC_CHECK(byoc_the_sdk.host.error_info(&told));
        if (told.category != BYOC_ERROR_UNSUPPORTED || told.message.len == 0) {
            return error;
        }
        BYOC_INIT(drop);
        drop.error = error;
        byoc_the_sdk.host.error_drop(&drop);
    } else if (onnx.bytes.len == 0) {
        return byoc_fail(BYOC_ERROR_INTERNAL, "an ONNX model without bytes");
    }
    return NULL;
}

static byoc_error *fill(program *self, const byoc_compile_args *args, const byoc_region_info_args *info) {
    uint64_t index;
    memcpy(self->inputs, info->inputs.data, (size_t)info->inputs.len * sizeof(uint64_t));
    memcpy(self->outputs, info->outputs.data, (size_t)info->outputs.len * sizeof(uint64_t));
    for (index = 0; index < info->nodes; index++) {
        BYOC_CHECK(compile_step(args->region, index, self->steps + index * WORDS_A_STEP));
    }
    for (index = 0; index < info->values; index++) {
        BYOC_CHECK(compile_constant(args->region, index, self));
    }
    BYOC_CHECK(look_around(args->region, info));
    return finish(self, args->constants);
}

static byoc_error *compile(byoc_compile_args *args) {
    byoc_region_info_args info;
    uint64_t header[HEADER] = {MAGIC};
    byoc_error *error;
    program *self;
    BYOC_CHECK(byoc_info(args->region, &info));
    header[W_VALUES] = info.values;
    header[W_STEPS] = info.nodes;
    header[W_INPUTS] = info.inputs.len;
    header[W_OUTPUTS] = info.outputs.len;
    header[W_CONSTANTS] = info.constants;
    header[W_DEVICE_KIND] = args->device.kind;
    header[W_DEVICE_ID] = args->device.id;
    self = new_program(header);
    if (self == NULL) {
        return no_memory();
    }
    error = fill(self, args, &info);
    if (error != NULL) {
        destroy(self);
        return error;
    }
    args->executable = self;
    return NULL;
}
