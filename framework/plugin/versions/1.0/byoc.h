/* What a vendor needs to write a BYOC plugin in C or C++.
 *
 * A plugin is a shared library with a pattern table, three functions and one line:
 *
 *     static byoc_error *compile(byoc_compile_args *args);   // sets args->executable
 *     static byoc_error *execute(byoc_execute_args *args);
 *     static void destroy(void *executable);
 *     BYOC_PLUGIN("my-npu", "1.0.0", TABLE, compile, execute, destroy)
 *
 * The line negotiates with the host, exports the one symbol of a plugin and writes the section by which it is listed
 * without being run. Everything else that a plugin may offer is set in a function given to BYOC_PLUGIN_WITH. Whatever
 * the host calls gets its arguments as this header knows them, zero where the host's own are shorter, never null; only
 * the functions of a device's table get what the host gives.
 * Compile with -fvisibility=hidden, in C++ with -fno-gnu-unique as well.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef BYOC_H
#define BYOC_H

#include <string.h>

#include "byoc_abi.h"

#if defined(_WIN32)
#define BYOC_EXPORT __declspec(dllexport)
#define BYOC_HIDDEN
#define BYOC_IN_SECTION
#elif defined(__APPLE__)
#define BYOC_EXPORT __attribute__((visibility("default")))
#define BYOC_HIDDEN __attribute__((visibility("hidden")))
#define BYOC_IN_SECTION __attribute__((section("__DATA,.byoc"), used))
#else
#define BYOC_EXPORT __attribute__((visibility("default")))
#define BYOC_HIDDEN __attribute__((visibility("hidden")))
#define BYOC_IN_SECTION __attribute__((section(".byoc"), used))
#endif

#if defined(__cplusplus)
#define BYOC_C extern "C"
#define BYOC_NOEXCEPT noexcept
#else
#define BYOC_C
#define BYOC_NOEXCEPT
#endif

/* No exception crosses into the host: it becomes an error, and the plugin is not called again. */
#if defined(__cpp_exceptions)
#define BYOC_TRY try {
#define BYOC_CATCH(result) } catch (...) { return result; }
#define BYOC_CATCH_SILENT } catch (...) { }
#else
#define BYOC_TRY {
#define BYOC_CATCH(result) }
#define BYOC_CATCH_SILENT }
#endif

/* What BYOC_PLUGIN defines, once in a library. */
typedef struct byoc_sdk {
    byoc_host host;
    byoc_plugin_table plugin;
    byoc_executable_table executable;
    byoc_error *(*compile)(byoc_compile_args *args);
    byoc_error *(*execute)(byoc_execute_args *args);
    void (*destroy)(void *executable);
    /* What the plugin has set in the tables above, where the host now finds what reads and answers its arguments. */
    byoc_plugin_table own_plugin;
    byoc_executable_table own_executable;
} byoc_sdk;

#ifdef __cplusplus
extern "C" {
#endif

extern BYOC_HIDDEN byoc_sdk byoc_the_sdk;

/* --- Structs ---------------------------------------------------------------------------------------------------- */

/* Makes `args` an empty struct of its own size. */
#define BYOC_INIT(args) byoc_init(&(args), sizeof(args))

static inline void byoc_init(void *args, size_t size) {
    uint32_t struct_size = (uint32_t)size;
    memset(args, 0, size);
    memcpy(args, &struct_size, sizeof struct_size);
}

/* Copies the other side's struct as far as both know it; the rest stays zero. 0 where it is null or too short. */
static inline int byoc_read(void *to, size_t size, const void *from, size_t min_size) {
    uint32_t theirs;
    if (from == NULL) {
        return 0;
    }
    memcpy(&theirs, from, sizeof theirs);
    if (theirs < min_size) {
        return 0;
    }
    byoc_init(to, size);
    memcpy(to, from, theirs < size ? theirs : size);
    return 1;
}

/* Copies what follows the head back into the other side's struct, as far as that goes. */
static inline void byoc_write_back(void *to, const void *from, size_t size) {
    uint32_t theirs;
    memcpy(&theirs, to, sizeof theirs);
    if (theirs < size) {
        size = theirs;
    }
    if (size > sizeof(byoc_head)) {
        memcpy((char *)to + sizeof(byoc_head), (const char *)from + sizeof(byoc_head), size - sizeof(byoc_head));
    }
}

/* --- Text and errors -------------------------------------------------------------------------------------------- */

static inline byoc_str byoc_text(const char *text) {
    byoc_str str;
    str.data = (const uint8_t *)text;
    str.len = strlen(text);
    return str;
}

static inline int byoc_equal(byoc_str str, const char *text) {
    size_t len = strlen(text);
    return str.len == len && (len == 0 || memcmp(str.data, text, len) == 0);
}

/* An error to return, about one node of the region or, with BYOC_NONE, about none. */
static inline byoc_error *byoc_fail_at(uint32_t category, uint64_t node, uint32_t flags, const char *message) {
    byoc_error_new_args args;
    BYOC_INIT(args);
    args.head.flags = flags;
    args.category = category;
    args.node = node;
    args.message = byoc_text(message);
    return byoc_the_sdk.host.error_new(&args);
}

static inline byoc_error *byoc_fail(uint32_t category, const char *message) {
    return byoc_fail_at(category, BYOC_NONE, 0, message);
}

/* Returns from a function that gives errors on, where `call` fails. */
#define BYOC_CHECK(call)                                                                                               \
    do {                                                                                                               \
        byoc_error *byoc_check_error = (call);                                                                         \
        if (byoc_check_error != NULL) {                                                                                \
            return byoc_check_error;                                                                                   \
        }                                                                                                              \
    } while (0)

static inline void byoc_log(uint32_t level, const char *message) {
    byoc_log_args args;
    BYOC_INIT(args);
    args.level = level;
    args.message = byoc_text(message);
    byoc_the_sdk.host.log(&args);
}

/* --- The region ------------------------------------------------------------------------------------------------- */

static inline byoc_error *byoc_info(const byoc_region *region, byoc_region_info_args *info) {
    byoc_init(info, sizeof *info);
    info->region = region;
    return byoc_the_sdk.host.region_info(info);
}

static inline byoc_error *byoc_node(const byoc_region *region, uint64_t index, byoc_region_node_args *node) {
    byoc_init(node, sizeof *node);
    node->region = region;
    node->index = index;
    return byoc_the_sdk.host.region_node(node);
}

static inline byoc_error *byoc_value(const byoc_region *region, uint64_t index, byoc_region_value_args *value) {
    byoc_init(value, sizeof *value);
    value->region = region;
    value->index = index;
    return byoc_the_sdk.host.region_value(value);
}

static inline byoc_error *byoc_attr(const byoc_region *region, uint64_t node, uint64_t index,
                                    byoc_region_attr_args *attr) {
    byoc_init(attr, sizeof *attr);
    attr->region = region;
    attr->node = node;
    attr->index = index;
    return byoc_the_sdk.host.region_attr(attr);
}

/* Looks an attribute up by name; `attr->kind` is BYOC_ATTR_OTHER and its name empty where there is none. */
static inline byoc_error *byoc_find_attr(const byoc_region *region, const byoc_region_node_args *node,
                                         const char *name, byoc_region_attr_args *attr) {
    uint64_t index;
    for (index = 0; index < node->attributes; index++) {
        BYOC_CHECK(byoc_attr(region, node->index, index, attr));
        if (byoc_equal(attr->name, name)) {
            return NULL;
        }
    }
    byoc_init(attr, sizeof *attr);
    return NULL;
}

static inline byoc_error *byoc_composite(const byoc_region *region, uint64_t index,
                                         byoc_region_composite_args *composite) {
    byoc_init(composite, sizeof *composite);
    composite->region = region;
    composite->index = index;
    return byoc_the_sdk.host.region_composite(composite);
}

/* The value bound to a name of the composite's pattern, or BYOC_NONE. */
static inline uint64_t byoc_bound(const byoc_region_composite_args *composite, const char *name) {
    uint64_t index;
    for (index = 0; index < composite->bindings_len; index++) {
        if (byoc_equal(composite->bindings[index].name, name)) {
            return composite->bindings[index].value;
        }
    }
    return BYOC_NONE;
}

/* The composite of which `node` is the last one; its list of nodes is empty where there is none. Over all nodes this
 * gives the composites in an order in which each finds its operands made. */
static inline byoc_error *byoc_composite_ending(const byoc_region *region, uint64_t node,
                                                byoc_region_composite_args *composite) {
    byoc_region_node_args args;
    BYOC_CHECK(byoc_node(region, node, &args));
    if (args.composite != BYOC_NONE) {
        BYOC_CHECK(byoc_composite(region, args.composite, composite));
        if (composite->nodes.len > 0 && composite->nodes.data[composite->nodes.len - 1] == node) {
            return NULL;
        }
    }
    byoc_init(composite, sizeof *composite);
    return NULL;
}

/* An attribute of `len` whole numbers, `otherwise` each where there is none. */
static inline byoc_error *byoc_find_ints(const byoc_region *region, const byoc_region_node_args *node,
                                         const char *name, uint64_t len, int64_t otherwise, int64_t *ints) {
    byoc_region_attr_args attr;
    uint64_t index;
    BYOC_CHECK(byoc_find_attr(region, node, name, &attr));
    for (index = 0; index < len; index++) {
        ints[index] = attr.kind == BYOC_ATTR_INTS && index < attr.len ? attr.ints[index] : otherwise;
    }
    return NULL;
}

/* The number of elements of a value of known shape, or 0 through `known`. */
static inline uint64_t byoc_elements(const byoc_region_value_args *value, int *known) {
    uint64_t elements = 1;
    int64_t axis;
    *known = value->rank >= 0;
    for (axis = 0; axis < value->rank; axis++) {
        uint64_t size = (uint64_t)value->dims[axis].size;
        if (value->dims[axis].kind != BYOC_DIM_KNOWN || (size != 0 && elements > UINT64_MAX / size)) {
            *known = 0;
            return 0;
        }
        elements *= size;
    }
    return elements;
}

/* The dimensions of a value and how many elements they make; 0 where they are not known or more than `max_rank`. */
static inline int byoc_shape(const byoc_region_value_args *value, int64_t max_rank, int64_t *dims, int64_t *elements) {
    int known;
    int64_t axis;
    uint64_t count = byoc_elements(value, &known);
    if (!known || value->rank > max_rank || count > INT64_MAX) {
        return 0;
    }
    for (axis = 0; axis < value->rank; axis++) {
        dims[axis] = value->dims[axis].size;
    }
    *elements = (int64_t)count;
    return 1;
}

/* A constant's content; valid until the executable is destroyed. */
static inline byoc_error *byoc_get_constant(byoc_constants *constants, uint64_t index, byoc_str *data) {
    byoc_constant_args args;
    BYOC_INIT(args);
    args.constants = constants;
    args.index = index;
    BYOC_CHECK(byoc_the_sdk.host.constant(&args));
    *data = args.data;
    return NULL;
}

/* --- Executions ------------------------------------------------------------------------------------------------- */

static inline byoc_error *byoc_parallel_for(byoc_call_token *call, uint64_t count, byoc_loop_body body, void *user) {
    byoc_parallel_for_args args;
    BYOC_INIT(args);
    args.call = call;
    args.count = count;
    args.body = body;
    args.user = user;
    return byoc_the_sdk.host.parallel_for(&args);
}

/* A tensor's first byte, where it lies in host memory. */
static inline void *byoc_data(const byoc_tensor *tensor) {
    return (char *)tensor->data + tensor->byte_offset;
}

/* --- The export ------------------------------------------------------------------------------------------------- */

static inline byoc_error *byoc_exception(const char *message) {
    return byoc_fail_at(BYOC_ERROR_INTERNAL, BYOC_NONE, BYOC_ERROR_PANICKED, message);
}

static inline byoc_error *byoc_call_compile(byoc_compile_args *args) BYOC_NOEXCEPT {
    byoc_compile_args own;
    byoc_error *error;
    if (!byoc_read(&own, sizeof own, args, BYOC_COMPILE_ARGS_MIN_SIZE)) {
        return byoc_fail(BYOC_ERROR_INVALID, "compile: arguments too short");
    }
    own.table = &byoc_the_sdk.executable;
    own.options_len = own.options == NULL ? 0 : own.options_len;
    BYOC_TRY
    error = byoc_the_sdk.compile(&own);
    BYOC_CATCH(byoc_exception("the plugin threw an exception in compile"))
    if (error == NULL) {
        byoc_write_back(args, &own, sizeof own);
    }
    return error;
}

static inline byoc_error *byoc_call_execute(byoc_execute_args *args) BYOC_NOEXCEPT {
    byoc_execute_args own;
    if (!byoc_read(&own, sizeof own, args, BYOC_EXECUTE_ARGS_MIN_SIZE)) {
        return byoc_fail(BYOC_ERROR_INVALID, "execute: arguments too short");
    }
    BYOC_TRY
    return byoc_the_sdk.execute(&own);
    BYOC_CATCH(byoc_exception("the plugin threw an exception in execute"))
}

static inline void byoc_call_destroy(byoc_executable_args *args) BYOC_NOEXCEPT {
    byoc_executable_args own;
    if (byoc_read(&own, sizeof own, args, BYOC_EXECUTABLE_ARGS_MIN_SIZE)) {
        BYOC_TRY
        byoc_the_sdk.destroy(own.executable);
        BYOC_CATCH_SILENT
    }
}

/* What the host calls in place of a function that the plugin has set. */
#define BYOC_CALL(TABLE, NAME, ARGS, MIN_SIZE, BEFORE)                                                                 \
    static inline byoc_error *byoc_call_##NAME(ARGS *args) BYOC_NOEXCEPT {                                             \
        ARGS own;                                                                                                      \
        byoc_error *error;                                                                                             \
        if (!byoc_read(&own, sizeof own, args, MIN_SIZE)) {                                                            \
            return byoc_fail(BYOC_ERROR_INVALID, #NAME ": arguments too short");                                       \
        }                                                                                                              \
        BEFORE;                                                                                                        \
        BYOC_TRY                                                                                                       \
        error = byoc_the_sdk.TABLE.NAME(&own);                                                                         \
        BYOC_CATCH(byoc_exception("the plugin threw an exception in " #NAME))                                          \
        if (error == NULL) {                                                                                           \
            byoc_write_back(args, &own, sizeof own);                                                                   \
        }                                                                                                              \
        return error;                                                                                                  \
    }
#define BYOC_NOTIFY(TABLE, NAME, ARGS, MIN_SIZE)                                                                       \
    static inline void byoc_call_##NAME(ARGS *args) BYOC_NOEXCEPT {                                                    \
        ARGS own;                                                                                                      \
        if (byoc_read(&own, sizeof own, args, MIN_SIZE)) {                                                             \
            BYOC_TRY                                                                                                   \
            byoc_the_sdk.TABLE.NAME(&own);                                                                             \
            BYOC_CATCH_SILENT                                                                                          \
        }                                                                                                              \
    }

BYOC_CALL(own_plugin, open, byoc_open_args, BYOC_OPEN_ARGS_MIN_SIZE,
          own.options_len = own.options == NULL ? 0 : own.options_len)
BYOC_CALL(own_plugin, devices, byoc_devices_args, BYOC_DEVICES_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_plugin, check_match, byoc_check_match_args, BYOC_CHECK_MATCH_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_plugin, check_region, byoc_check_region_args, BYOC_CHECK_REGION_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_plugin, load, byoc_load_args, BYOC_LOAD_ARGS_MIN_SIZE, own.table = &byoc_the_sdk.executable)
BYOC_CALL(own_plugin, check_artefact, byoc_check_artefact_args, BYOC_CHECK_ARTEFACT_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_plugin, get_extension, byoc_get_extension_args, BYOC_GET_EXTENSION_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, io, byoc_io_args, BYOC_IO_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, workspace, byoc_workspace_args, BYOC_WORKSPACE_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, output_shapes, byoc_output_shapes_args, BYOC_OUTPUT_SHAPES_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, serialise, byoc_serialise_args, BYOC_SERIALISE_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, device_time, byoc_device_time_args, BYOC_DEVICE_TIME_ARGS_MIN_SIZE, (void)0)
BYOC_CALL(own_executable, context_create, byoc_context_args, BYOC_CONTEXT_ARGS_MIN_SIZE, (void)0)
BYOC_NOTIFY(own_executable, context_destroy, byoc_context_args, BYOC_CONTEXT_ARGS_MIN_SIZE)
BYOC_NOTIFY(own_plugin, close, byoc_close_args, BYOC_CLOSE_ARGS_MIN_SIZE)
#undef BYOC_CALL
#undef BYOC_NOTIFY

/* Puts what reads and answers the host's arguments in front of what the plugin has set. */
static inline void byoc_wrap(byoc_sdk *sdk) {
    byoc_plugin_table *plugin = &sdk->plugin;
    byoc_executable_table *executable = &sdk->executable;
    sdk->own_plugin = *plugin;
    sdk->own_executable = *executable;
#define BYOC_WRAP(table, name) table->name = table->name == NULL ? NULL : byoc_call_##name
    BYOC_WRAP(plugin, open);
    BYOC_WRAP(plugin, close);
    BYOC_WRAP(plugin, devices);
    BYOC_WRAP(plugin, check_match);
    BYOC_WRAP(plugin, check_region);
    BYOC_WRAP(plugin, load);
    BYOC_WRAP(plugin, check_artefact);
    BYOC_WRAP(plugin, get_extension);
    BYOC_WRAP(executable, io);
    BYOC_WRAP(executable, workspace);
    BYOC_WRAP(executable, output_shapes);
    BYOC_WRAP(executable, serialise);
    BYOC_WRAP(executable, device_time);
    BYOC_WRAP(executable, context_create);
    BYOC_WRAP(executable, context_destroy);
#undef BYOC_WRAP
}

/* Answers the host's first call. With another epoch nothing of it can be used: no table says so. */
static inline byoc_error *byoc_enter(byoc_sdk *sdk, byoc_entry_args *args, const char *name, const char *version,
                                     const char *table, void (*setup)(byoc_sdk *sdk)) {
    byoc_entry_args own;
    if (!byoc_read(&own, sizeof own, args, BYOC_ENTRY_ARGS_MIN_SIZE)) {
        return NULL;
    }
    own.plugin = NULL;
    own.plugin_epoch = BYOC_EPOCH;
    own.agreed_minor = own.minor < BYOC_MINOR + 1u ? own.minor : BYOC_MINOR;
    /* The first host is kept: a table that is in use must not change. */
    if (own.epoch == BYOC_EPOCH && sdk->plugin.compile == NULL &&
        byoc_read(&sdk->host, sizeof sdk->host, own.host, BYOC_HOST_MIN_SIZE)) {
        BYOC_INIT(sdk->plugin);
        BYOC_INIT(sdk->executable);
        sdk->plugin.name = byoc_text(name);
        sdk->plugin.version = byoc_text(version);
        sdk->plugin.pattern_table = byoc_text(table);
        sdk->plugin.compile = byoc_call_compile;
        sdk->executable.execute = byoc_call_execute;
        sdk->executable.destroy = byoc_call_destroy;
        setup(sdk);
        byoc_wrap(sdk);
    }
    if (own.epoch == BYOC_EPOCH && sdk->plugin.compile != NULL) {
        own.plugin = &sdk->plugin;
    }
    byoc_write_back(args, &own, sizeof own);
    return NULL;
}

#ifdef __cplusplus
}
#endif

/* What the library says of itself to those who do not run it. */
#define BYOC_SECTION(NAME, VERSION, TABLE)                                                                             \
    static const struct {                                                                                              \
        uint8_t magic[8];                                                                                              \
        uint32_t epoch, minor, name_len, version_len, table_len, reserved;                                             \
        char name[sizeof(NAME)], version[sizeof(VERSION)], table[sizeof(TABLE)];                                       \
    } byoc_the_section BYOC_IN_SECTION = {{'B', 'Y', 'O', 'C', 0, 1, '\r', '\n'},                                      \
                                          BYOC_EPOCH,                                                                  \
                                          BYOC_MINOR,                                                                  \
                                          sizeof(NAME) - 1,                                                            \
                                          sizeof(VERSION) - 1,                                                         \
                                          sizeof(TABLE) - 1,                                                           \
                                          0,                                                                           \
                                          NAME,                                                                        \
                                          VERSION,                                                                     \
                                          TABLE}

/* The exported function, and the object that keeps the host. */
#define BYOC_ENTRY(SETUP)                                                                                              \
    byoc_sdk byoc_the_sdk;                                                                                             \
    BYOC_C BYOC_EXPORT byoc_error *byoc_plugin_entry(byoc_entry_args *args);                                           \
    BYOC_C BYOC_EXPORT byoc_error *byoc_plugin_entry(byoc_entry_args *args) {                                          \
        return byoc_enter(&byoc_the_sdk, args, byoc_the_section.name, byoc_the_section.version,                        \
                          byoc_the_section.table, SETUP);                                                              \
    }                                                                                                                  \
    BYOC_ASSERT(sizeof(byoc_the_section) > 35)

/* A plugin of which `SETUP(byoc_sdk *)` sets compile, execute and destroy, and in sdk->plugin and sdk->executable
 * whatever else it offers. NAME, VERSION and TABLE are string literals. */
#define BYOC_PLUGIN_WITH(NAME, VERSION, TABLE, SETUP)                                                                  \
    BYOC_SECTION(NAME, VERSION, TABLE);                                                                                \
    BYOC_ENTRY(SETUP)

/* A plugin of three functions. */
#define BYOC_PLUGIN(NAME, VERSION, TABLE, COMPILE, EXECUTE, DESTROY)                                                   \
    static void byoc_setup(byoc_sdk *sdk) {                                                                            \
        sdk->compile = COMPILE;                                                                                        \
        sdk->execute = EXECUTE;                                                                                        \
        sdk->destroy = DESTROY;                                                                                        \
    }                                                                                                                  \
    BYOC_PLUGIN_WITH(NAME, VERSION, TABLE, byoc_setup)

#endif
