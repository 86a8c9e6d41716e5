/* Pretended devices: their memory is the host's, and all that is enqueued is done at once. */

typedef struct {
    byoc_device_id id;
    uint64_t used;
} device;

typedef struct {
    device devices[2];
    byoc_device_info infos[3];
    const byoc_device_info *pointers[3];
} plugin_state;

/* In front of a device's memory. */
typedef struct {
    uint64_t size, offset;
} allocation;

static byoc_error *device_alloc(byoc_device_alloc_args *args) {
    device *self = (device *)args->device;
    uint64_t align = args->align < 64 ? 64 : args->align, size = args->size;
    char *start = size > SIZE_MAX / 2 ? NULL : (char *)aligned_alloc((size_t)align, (size_t)(size / align + 2) * align);
    if (start == NULL) {
        return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "no memory on this device");
    }
    ((allocation *)(start + align))[-1].size = size;
    ((allocation *)(start + align))[-1].offset = align;
    self->used += size;
    args->data = start + align;
    return NULL;
}

static void device_free(byoc_device_free_args *args) {
    device *self = (device *)args->device;
    const allocation *header = (const allocation *)args->data - 1;
    self->used -= header->size;
    free((char *)args->data - header->offset);
    args->answer = BYOC_FREE_DONE;
}

static byoc_error *device_copy(byoc_device_copy_args *args) {
    const device *self = (const device *)args->device;
    if (args->src_device.kind != BYOC_DEVICE_HOST && args->src_device.kind != self->id.kind) {
        return byoc_fail(BYOC_ERROR_UNSUPPORTED, "that device cannot be reached");
    }
    memcpy((char *)args->dst + args->dst_offset, (const char *)args->src + args->src_offset, (size_t)args->size);
    return NULL;
}

static byoc_error *device_sync(byoc_device_sync_args *args) {
    (void)args;
    return NULL;
}

static byoc_error *device_memory_info(byoc_device_memory_info_args *args) {
    args->total = UINT64_C(1) << 40;
    args->free = args->total - ((const device *)args->device)->used;
    return NULL;
}

static byoc_error *stream_create(byoc_stream_args *args) {
    args->stream = malloc(1);
    return args->stream == NULL ? no_memory() : NULL;
}

static void stream_destroy(byoc_stream_args *args) {
    free(args->stream);
}

static byoc_error *stream_wait(byoc_stream_event_args *args) {
    (void)args;
    return NULL;
}

static byoc_error *event_create(byoc_event_args *args) {
    args->event = malloc(1);
    return args->event == NULL ? no_memory() : NULL;
}

static void event_destroy(byoc_event_args *args) {
    free(args->event);
}

static byoc_error *event_record(byoc_stream_event_args *args) {
    (void)args;
    return NULL;
}

static byoc_error *event_query(byoc_event_args *args) {
    args->done = 1;
    return NULL;
}

static byoc_error *event_wait(byoc_event_args *args) {
    (void)args;
    return NULL;
}

static byoc_device_table the_device_table;

static void set_up_devices(void) {
    byoc_device_table *table = &the_device_table;
    BYOC_INIT(*table);
    table->alloc = device_alloc;
    table->free = device_free;
    table->copy = device_copy;
    table->sync = device_sync;
    table->memory_info = device_memory_info;
    table->stream_create = stream_create;
    table->stream_destroy = stream_destroy;
    table->stream_wait = stream_wait;
    table->event_create = event_create;
    table->event_destroy = event_destroy;
    table->event_record = event_record;
    table->event_query = event_query;
    table->event_wait = event_wait;
}

/* The first computes in host memory, the others have memory of their own. */
static void describe_devices(plugin_state *state) {
    static const char *const names[3] = {"near", "far 0", "far 1"};
    uint32_t index;
    for (index = 0; index < 3; index++) {
        byoc_device_info *info = &state->infos[index];
        BYOC_INIT(*info);
        info->id.kind = index == 0 ? BYOC_DEVICE_HOST : 12;
        info->id.id = index == 0 ? 0 : index - 1;
        info->name = byoc_text(names[index]);
        if (index > 0) {
            info->memory_bytes = UINT64_C(1) << 40;
            info->table = &the_device_table;
            info->device = &state->devices[index - 1];
            state->devices[index - 1].id = info->id;
        }
        state->pointers[index] = info;
    }
}
