/* A plugin of interface 1.0 that uses all of it: element-wise operators and NonZero of float32 tensors of any shape, in
 * host memory or on pretended devices. It stays as it is, to be built with the headers beside it and to run on every
 * host of this epoch. */
#include <byoc.h>
#include <stdlib.h>

#include "compile.h"
#include "devices.h"
#include "execute.h"

static byoc_error *open_plugin(byoc_open_args *args) {
    byoc_get_extension_args extension;
    plugin_state *state;
    uint64_t index, found = 0;
    BYOC_INIT(extension);
    extension.name = byoc_text("com.example.nothing/1");
    BYOC_CHECK(byoc_the_sdk.host.get_extension(&extension));
    for (index = 0; index < args->options_len; index++) {
        found += byoc_equal(args->options[index].key, "steps") && args->options[index].value.len > 0;
    }
    if (extension.table != NULL || args->options_len != 4 || found != 1) {
        return byoc_fail(BYOC_ERROR_INVALID, "not the extensions and options of a host");
    }
    state = (plugin_state *)zeroed(1, sizeof *state);
    if (state == NULL) {
        return no_memory();
    }
    describe_devices(state);
    args->state = state;
    byoc_log(BYOC_LOG_DEBUG, "open");
    return NULL;
}

static void close_plugin(byoc_close_args *args) {
    free(args->state);
}

static byoc_error *devices(byoc_devices_args *args) {
    plugin_state *state = (plugin_state *)args->state;
    args->devices = state->pointers;
    args->devices_len = 3;
    return NULL;
}

/* No rank above 8; by name, so that a test can ask for it, no node `no match`. */
static byoc_error *check_match(byoc_check_match_args *args) {
    byoc_region_info_args info;
    byoc_region_value_args value;
    byoc_region_node_args node;
    uint64_t index;
    BYOC_CHECK(byoc_info(args->region, &info));
    for (index = 0; index < info.values; index++) {
        BYOC_CHECK(byoc_value(args->region, index, &value));
        if (value.rank > MAX_RANK) {
            return byoc_fail(BYOC_ERROR_UNSUPPORTED, "a rank above 8");
        }
    }
    BYOC_CHECK(byoc_node(args->region, 0, &node));
    return byoc_equal(node.name, "no_match") ? byoc_fail(BYOC_ERROR_UNSUPPORTED, "it is called so") : NULL;
}

/* No node that is called `no_region`. */
static byoc_error *check_region(byoc_check_region_args *args) {
    byoc_region_info_args info;
    byoc_region_node_args node;
    byoc_refuse_node_args refuse;
    uint64_t index;
    BYOC_CHECK(byoc_info(args->region, &info));
    for (index = 0; index < info.nodes; index++) {
        BYOC_CHECK(byoc_node(args->region, index, &node));
        if (byoc_equal(node.name, "no_region")) {
            BYOC_INIT(refuse);
            refuse.call = args->call;
            refuse.node = index;
            refuse.reason = byoc_text("it is called so");
            BYOC_CHECK(byoc_the_sdk.host.refuse_node(&refuse));
        }
    }
    args->fixed_us = 1.0;
    return NULL;
}

static byoc_error *load(byoc_load_args *args) {
    uint64_t header[HEADER], index, most = args->artefact.len / sizeof(uint64_t);
    byoc_error *error;
    program *self;
    if (args->artefact.len < sizeof header) {
        return byoc_fail(BYOC_ERROR_INVALID, "no artefact of this plugin");
    }
    memcpy(header, args->artefact.data, sizeof header);
    for (index = W_STEPS; index <= W_CONSTANTS; index++) {
        if (header[W_MAGIC] != MAGIC || header[index] > most || header[W_VALUES] > UINT32_MAX) {
            return byoc_fail(BYOC_ERROR_INVALID, "no artefact of this plugin");
        }
    }
    if (words_of(header) * sizeof(uint64_t) != args->artefact.len) {
        return byoc_fail(BYOC_ERROR_INVALID, "an artefact of another length");
    }
    self = new_program(header);
    if (self == NULL) {
        return no_memory();
    }
    memcpy(self->words, args->artefact.data, (size_t)args->artefact.len);
    error = is_sound(self, args->constants_len) ? finish(self, args->constants)
                                                : byoc_fail(BYOC_ERROR_INVALID, "a damaged artefact");
    if (error != NULL) {
        destroy(self);
        return error;
    }
    args->executable = self;
    return NULL;
}

static byoc_error *check_artefact(byoc_check_artefact_args *args) {
    args->answer = byoc_equal(args->compatibility, "kept-c 1") ? BYOC_ARTEFACT_BEST : BYOC_ARTEFACT_FOREIGN;
    return NULL;
}

/* A table of its own, by a name of its own. */
static byoc_error *get_extension(byoc_get_extension_args *args) {
    static byoc_head table;
    BYOC_INIT(table);
    args->table = byoc_equal(args->name, "com.example.kept/1") ? &table : NULL;
    return NULL;
}

static void set_up(byoc_sdk *sdk) {
    static const char *const names[4] = {"label", "steps", "share", "loud"};
    static const char *const defaults[4] = {"", "3", "0.5", "false"};
    static const uint32_t kinds[4] = {BYOC_OPTION_STRING, BYOC_OPTION_INT, BYOC_OPTION_FLOAT, BYOC_OPTION_BOOL};
    static byoc_option_decl options[4];
    static const byoc_option_decl *pointers[4];
    uint32_t index;
    for (index = 0; index < 4; index++) {
        BYOC_INIT(options[index]);
        options[index].kind = kinds[index];
        options[index].name = byoc_text(names[index]);
        options[index].default_value = byoc_text(defaults[index]);
        options[index].help = byoc_text("one of each kind");
        pointers[index] = &options[index];
    }
    set_up_devices();
    sdk->compile = compile;
    sdk->execute = execute;
    sdk->destroy = destroy;
    sdk->plugin.options = pointers;
    sdk->plugin.options_len = 4;
    sdk->plugin.optional_features = UINT64_C(1) << 63; /* which no host knows */
    sdk->plugin.open = open_plugin;
    sdk->plugin.close = close_plugin;
    sdk->plugin.devices = devices;
    sdk->plugin.check_match = check_match;
    sdk->plugin.check_region = check_region;
    sdk->plugin.load = load;
    sdk->plugin.check_artefact = check_artefact;
    sdk->plugin.get_extension = get_extension;
    sdk->executable.io = io;
    sdk->executable.workspace = workspace;
    sdk->executable.output_shapes = output_shapes;
    sdk->executable.serialise = serialise;
    sdk->executable.device_time = device_time;
    sdk->executable.context_create = context_create;
    sdk->executable.context_destroy = context_destroy;
}

#define TABLE                                                                                                          \
    "[vendor]\n"                                                                                                       \
    "name = \"kept-c\"\n"                                                                                              \
    "[[pattern]]\n"                                                                                                    \
    "name = \"binary\"\n"                                                                                              \
    "match = \"y = Add|Mul(a, b)\"\n"                                                                                  \
    "where = [\"y.dtype == 'float32'\", \"a.shape == b.shape\"]\n"                                                     \
    "[[pattern]]\n"                                                                                                    \
    "name = \"unary\"\n"                                                                                               \
    "match = \"y = Relu(x) | LeakyRelu(x)\"\n"                                                                         \
    "where = [\"y.dtype == 'float32'\"]\n"                                                                             \
    "[[pattern]]\n"                                                                                                    \
    "name = \"nonzero\"\n"                                                                                             \
    "match = \"y = NonZero(x)\"\n"                                                                                     \
    "where = [\"x.dtype == 'float32'\", \"x.rank >= 1\"]\n"

BYOC_PLUGIN_WITH("kept-c", "1.0.0", TABLE, set_up);
