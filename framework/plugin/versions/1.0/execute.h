/* Executions, and what is asked of an executable. */
typedef struct {
    const float *data;
    const byoc_tensor *like; /* has the value's shape */
} operand;

typedef struct {
    uint64_t op, count;
    const float *left, *right;
    float *result, alpha;
} job;

static uint64_t count_of(const byoc_tensor *tensor) {
    return tensor->byte_len / sizeof(float);
}

static void compute(void *user, uint64_t block) {
    const job *work = (const job *)user;
    uint64_t i = block * BLOCK, end = i + BLOCK < work->count ? i + BLOCK : work->count;
    for (; i < end; i++) {
        float left = work->left[i], right = work->right[i];
        work->result[i] = work->op == ADD   ? left + right
                          : work->op == MUL ? left * right
                          : left > 0        ? left
                                            : (work->op == LEAKY ? left * work->alpha : 0.0f);
    }
}

/* An output whose shape is known only now. */
static byoc_error *nonzero(byoc_execute_args *args, const operand *from, uint64_t output) {
    uint64_t rank = from->like->rank, count = count_of(from->like), found = 0, axis, i;
    int64_t shape[2], *to;
    byoc_output_alloc_args alloc;
    for (i = 0; i < count; i++) {
        found += from->data[i] != 0;
    }
    shape[0] = (int64_t)rank;
    shape[1] = (int64_t)found;
    to = (int64_t *)byoc_data(args->outputs[output]);
    if (args->outputs[output]->head.flags & BYOC_TENSOR_PENDING) {
        BYOC_INIT(alloc);
        alloc.call = args->call;
        alloc.output = output;
        alloc.rank = 2;
        alloc.shape = shape;
        BYOC_CHECK(byoc_the_sdk.host.output_alloc(&alloc));
        to = (int64_t *)alloc.data;
    }
    for (i = 0, count = 0; count < found; i++) {
        uint64_t rest = i;
        if (from->data[i] != 0) {
            for (axis = rank; axis-- > 0; rest /= (uint64_t)from->like->shape[axis]) {
                to[axis * found + count] = (int64_t)(rest % (uint64_t)from->like->shape[axis]);
            }
            count++;
        }
    }
    return NULL;
}

static uint64_t output_of(const program *self, uint64_t value) {
    uint64_t index;
    for (index = 0; index < self->words[W_OUTPUTS]; index++) {
        if (self->outputs[index] == value) {
            return index;
        }
    }
    return BYOC_NONE;
}

/* One step; `scratch` goes on behind what it takes. */
static byoc_error *run_step(const program *self, byoc_execute_args *args, const uint64_t *step, operand *values,
                            float **scratch) {
    uint64_t output = output_of(self, step[3]);
    job work;
    work.op = step[0];
    work.left = values[step[1]].data;
    work.right = values[step[2]].data;
    work.count = count_of(values[step[1]].like);
    memcpy(&work.alpha, step + 4, sizeof work.alpha);
    if (work.op == NONZERO) {
        return output == BYOC_NONE ? NULL : nonzero(args, &values[step[1]], output);
    }
    work.result = output == BYOC_NONE ? *scratch : (float *)byoc_data(args->outputs[output]);
    *scratch += output == BYOC_NONE ? work.count : 0;
    values[step[3]].data = work.result;
    values[step[3]].like = values[step[1]].like;
    return byoc_parallel_for(args->call, (work.count + BLOCK - 1) / BLOCK, compute, &work);
}

static byoc_error *run(const program *self, byoc_execute_args *args, operand *values) {
    byoc_stop_requested_args stop;
    byoc_threads_args threads;
    float *scratch = (float *)args->workspace;
    uint64_t index;
    BYOC_INIT(threads);
    threads.call = args->call;
    BYOC_CHECK(byoc_the_sdk.host.threads(&threads));
    if (threads.count == 0) {
        return byoc_fail(BYOC_ERROR_INTERNAL, "not even one thread");
    }
    for (index = 0; index < self->words[W_CONSTANTS]; index++) {
        operand *value = &values[self->constants[index * WORDS_A_CONSTANT]];
        value->data = self->owned[index];
        value->like = &self->tensors[index];
    }
    for (index = 0; index < self->words[W_INPUTS]; index++) {
        values[self->inputs[index]].data = (const float *)byoc_data(args->inputs[index]);
        values[self->inputs[index]].like = args->inputs[index];
    }
    for (index = 0; index < self->words[W_STEPS]; index++) {
        BYOC_INIT(stop);
        stop.call = args->call;
        BYOC_CHECK(byoc_the_sdk.host.stop_requested(&stop));
        if (stop.stop != 0) {
            return byoc_fail(BYOC_ERROR_CANCELLED, "nobody wants the result any more");
        }
        BYOC_CHECK(run_step(self, args, self->steps + index * WORDS_A_STEP, values, &scratch));
    }
    return NULL;
}

static byoc_error *execute(byoc_execute_args *args) {
    const program *self = (const program *)args->executable;
    run_state *context = (run_state *)args->context;
    byoc_profile_event_args event;
    byoc_alloc_args alloc;
    byoc_free_args free_;
    byoc_error *error;
    BYOC_INIT(alloc);
    alloc.size = self->words[W_VALUES] * sizeof(operand);
    alloc.align = 64;
    BYOC_CHECK(byoc_the_sdk.host.alloc(&alloc));
    memset(alloc.data, 0, (size_t)alloc.size);
    error = run(self, args, (operand *)alloc.data);
    BYOC_INIT(free_);
    free_.data = alloc.data;
    byoc_the_sdk.host.free(&free_);
    BYOC_CHECK(error);
    if (context != NULL) {
        context->runs++;
        context->ns = 1000;
    }
    BYOC_INIT(event);
    event.call = args->call;
    event.name = byoc_text("all");
    event.end_ns = 1000;
    return byoc_the_sdk.host.profile_event(&event);
}

static byoc_error *workspace(byoc_workspace_args *args) {
    const program *self = (const program *)args->executable;
    uint64_t index, most = 0;
    for (index = 0; index < args->inputs_len; index++) {
        most = args->inputs[index]->byte_len > most ? args->inputs[index]->byte_len : most;
    }
    for (index = 0; index < self->words[W_CONSTANTS]; index++) {
        most = self->tensors[index].byte_len > most ? self->tensors[index].byte_len : most;
    }
    args->size = most * self->words[W_STEPS];
    args->align = 256;
    return NULL;
}

static byoc_error *io(byoc_io_args *args) {
    const program *self = (const program *)args->executable;
    args->inputs = self->spec_pointers;
    args->inputs_len = self->words[W_INPUTS];
    args->outputs = self->spec_pointers + self->words[W_INPUTS];
    args->outputs_len = self->words[W_OUTPUTS];
    return NULL;
}

/* All values have the shape of an input, but for what NonZero makes. */
static byoc_error *output_shapes(byoc_output_shapes_args *args) {
    const program *self = (const program *)args->executable;
    byoc_output_shape_args told;
    uint64_t index;
    for (index = 0; index < self->words[W_OUTPUTS]; index++) {
        if (args->inputs_len == 0 || makes(self, self->outputs[index], NONZERO)) {
            return byoc_fail(BYOC_ERROR_UNSUPPORTED, "known only from the content");
        }
        BYOC_INIT(told);
        told.call = args->call;
        told.output = index;
        told.rank = args->inputs[0]->rank;
        told.shape = args->inputs[0]->shape;
        BYOC_CHECK(byoc_the_sdk.host.output_shape(&told));
    }
    return NULL;
}

static byoc_error *serialise(byoc_serialise_args *args) {
    const program *self = (const program *)args->executable;
    byoc_alloc_args alloc;
    BYOC_INIT(alloc);
    alloc.size = self->len * sizeof(uint64_t);
    BYOC_CHECK(byoc_the_sdk.host.alloc(&alloc));
    memcpy(alloc.data, self->words, (size_t)alloc.size);
    args->data = alloc.data;
    args->len = alloc.size;
    args->compatibility = byoc_text("kept-c 1");
    return NULL;
}

static byoc_error *device_time(byoc_device_time_args *args) {
    const run_state *context = (const run_state *)args->context;
    args->ns = context != NULL && context->runs > 0 ? context->ns : BYOC_NONE;
    return NULL;
}

static byoc_error *context_create(byoc_context_args *args) {
    args->context = zeroed(1, sizeof(run_state));
    return args->context == NULL ? no_memory() : NULL;
}

static void context_destroy(byoc_context_args *args) {
    free(args->context);
}
