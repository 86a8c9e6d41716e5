/* Written by the tests of byoc-plugin from its definitions in src/abi: do not edit.
 *
 * The binary interface between a BYOC host and a plugin. Every struct begins with byoc_head, or never changes;
 * whoever reads one looks only at what ends within the other side's struct_size. Functions return NULL, or an
 * error made by the host. <byoc.h> is the easy way to use this file.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef BYOC_ABI_H
#define BYOC_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define BYOC_ASSERT(condition) static_assert(condition, #condition)
#else
#define BYOC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define BYOC_EPOCH 1u
#define BYOC_MINOR 0u

/* No index. */
#define BYOC_NONE UINT64_C(0xffffffffffffffff)
#define BYOC_DIM_UNKNOWN UINT32_C(0)
#define BYOC_DIM_KNOWN UINT32_C(1)
#define BYOC_DIM_SYMBOL UINT32_C(2)
/* DLPack's device type of host memory. */
#define BYOC_DEVICE_HOST UINT32_C(1)
#define BYOC_DTYPE_INT UINT32_C(0)
#define BYOC_DTYPE_UINT UINT32_C(1)
#define BYOC_DTYPE_FLOAT UINT32_C(2)
#define BYOC_DTYPE_BFLOAT UINT32_C(4)
#define BYOC_DTYPE_COMPLEX UINT32_C(5)
#define BYOC_DTYPE_BOOL UINT32_C(6)
#define BYOC_DTYPE_FLOAT8_E4M3FN UINT32_C(10)
#define BYOC_DTYPE_FLOAT8_E4M3FNUZ UINT32_C(11)
#define BYOC_DTYPE_FLOAT8_E5M2 UINT32_C(12)
#define BYOC_DTYPE_FLOAT8_E5M2FNUZ UINT32_C(13)
#define BYOC_DTYPE_FLOAT8_E8M0FNU UINT32_C(14)
#define BYOC_DTYPE_FLOAT6_E2M3FN UINT32_C(15)
#define BYOC_DTYPE_FLOAT6_E3M2FN UINT32_C(16)
#define BYOC_DTYPE_FLOAT4_E2M1FN UINT32_C(17)
/* Not a type that DLPack has (strings), or unknown. */
#define BYOC_DTYPE_NONE UINT32_C(255)
/* The plugin does not do this; the region or node goes elsewhere. */
#define BYOC_ERROR_UNSUPPORTED UINT32_C(1)
/* The caller broke the contract, or the data is not valid. */
#define BYOC_ERROR_INVALID UINT32_C(2)
#define BYOC_ERROR_OUT_OF_MEMORY UINT32_C(3)
#define BYOC_ERROR_TIMEOUT UINT32_C(4)
#define BYOC_ERROR_CANCELLED UINT32_C(5)
#define BYOC_ERROR_DEVICE_LOST UINT32_C(6)
#define BYOC_ERROR_INTERNAL UINT32_C(7)
/* Flag: trying again may help. */
#define BYOC_ERROR_RETRY UINT32_C(1)
/* Flag: a panic or an exception was caught; the plugin is not called again. */
#define BYOC_ERROR_PANICKED UINT32_C(2)
#define BYOC_LOG_ERROR UINT32_C(1)
#define BYOC_LOG_WARN UINT32_C(2)
#define BYOC_LOG_INFO UINT32_C(3)
#define BYOC_LOG_DEBUG UINT32_C(4)
/* A kind that this interface does not carry (a graph, say); the ONNX form has it. */
#define BYOC_ATTR_OTHER UINT32_C(0)
#define BYOC_ATTR_INT UINT32_C(1)
#define BYOC_ATTR_FLOAT UINT32_C(2)
#define BYOC_ATTR_STRING UINT32_C(3)
#define BYOC_ATTR_INTS UINT32_C(4)
#define BYOC_ATTR_FLOATS UINT32_C(5)
#define BYOC_ATTR_STRINGS UINT32_C(6)
#define BYOC_ATTR_TENSOR UINT32_C(7)
#define BYOC_FREE_DONE UINT32_C(0)
/* The address must never be used again. What an unknown answer means, too. */
#define BYOC_FREE_QUARANTINED UINT32_C(1)
/* Nothing has changed. */
#define BYOC_FREE_FAILED UINT32_C(2)
/* Flag of a tensor: the output has no memory yet. */
#define BYOC_TENSOR_PENDING UINT32_C(1)
/* Flag of an IoSpec: alias counts. */
#define BYOC_IO_ALIAS UINT32_C(1)
/* Flag of an executable, and of a plugin: calls may overlap. */
#define BYOC_CONCURRENT UINT32_C(1)
#define BYOC_OPTION_STRING UINT32_C(0)
#define BYOC_OPTION_INT UINT32_C(1)
#define BYOC_OPTION_FLOAT UINT32_C(2)
#define BYOC_OPTION_BOOL UINT32_C(3)
/* The plugin computes on the host's threads and within their budget. */
#define BYOC_THREADS_HOST UINT32_C(0)
/* The plugin has threads of its own; the host parks its workers meanwhile. */
#define BYOC_THREADS_OWN UINT32_C(1)
#define BYOC_ARTEFACT_BEST UINT32_C(0)
/* It works; compiling again would give a better one. */
#define BYOC_ARTEFACT_WORKS UINT32_C(1)
#define BYOC_ARTEFACT_RECOMPILE UINT32_C(2)
#define BYOC_ARTEFACT_FOREIGN UINT32_C(3)

typedef struct byoc_error byoc_error;
typedef struct byoc_region byoc_region;
typedef struct byoc_call_token byoc_call_token;
typedef struct byoc_constants byoc_constants;
typedef struct byoc_head byoc_head;
typedef struct byoc_str byoc_str;
typedef struct byoc_indices byoc_indices;
typedef struct byoc_dim byoc_dim;
typedef struct byoc_device_id byoc_device_id;
typedef struct byoc_dtype byoc_dtype;
typedef struct byoc_binding byoc_binding;
typedef struct byoc_pair byoc_pair;
typedef struct byoc_error_new_args byoc_error_new_args;
typedef struct byoc_error_info_args byoc_error_info_args;
typedef struct byoc_error_drop_args byoc_error_drop_args;
typedef struct byoc_log_args byoc_log_args;
typedef struct byoc_alloc_args byoc_alloc_args;
typedef struct byoc_free_args byoc_free_args;
typedef struct byoc_threads_args byoc_threads_args;
typedef struct byoc_parallel_for_args byoc_parallel_for_args;
typedef struct byoc_stop_requested_args byoc_stop_requested_args;
typedef struct byoc_refuse_node_args byoc_refuse_node_args;
typedef struct byoc_constant_args byoc_constant_args;
typedef struct byoc_constant_release_args byoc_constant_release_args;
typedef struct byoc_output_alloc_args byoc_output_alloc_args;
typedef struct byoc_output_shape_args byoc_output_shape_args;
typedef struct byoc_profile_event_args byoc_profile_event_args;
typedef struct byoc_get_extension_args byoc_get_extension_args;
typedef struct byoc_host byoc_host;
typedef struct byoc_region_info_args byoc_region_info_args;
typedef struct byoc_region_node_args byoc_region_node_args;
typedef struct byoc_region_attr_args byoc_region_attr_args;
typedef struct byoc_region_value_args byoc_region_value_args;
typedef struct byoc_region_composite_args byoc_region_composite_args;
typedef struct byoc_region_symbol_args byoc_region_symbol_args;
typedef struct byoc_region_onnx_args byoc_region_onnx_args;
typedef struct byoc_device_alloc_args byoc_device_alloc_args;
typedef struct byoc_device_free_args byoc_device_free_args;
typedef struct byoc_device_copy_args byoc_device_copy_args;
typedef struct byoc_device_sync_args byoc_device_sync_args;
typedef struct byoc_device_memory_info_args byoc_device_memory_info_args;
typedef struct byoc_stream_args byoc_stream_args;
typedef struct byoc_event_args byoc_event_args;
typedef struct byoc_stream_event_args byoc_stream_event_args;
typedef struct byoc_device_table byoc_device_table;
typedef struct byoc_tensor byoc_tensor;
typedef struct byoc_execute_args byoc_execute_args;
typedef struct byoc_executable_args byoc_executable_args;
typedef struct byoc_context_args byoc_context_args;
typedef struct byoc_io_spec byoc_io_spec;
typedef struct byoc_io_args byoc_io_args;
typedef struct byoc_workspace_args byoc_workspace_args;
typedef struct byoc_output_shapes_args byoc_output_shapes_args;
typedef struct byoc_serialise_args byoc_serialise_args;
typedef struct byoc_device_time_args byoc_device_time_args;
typedef struct byoc_executable_table byoc_executable_table;
typedef struct byoc_option_decl byoc_option_decl;
typedef struct byoc_open_args byoc_open_args;
typedef struct byoc_close_args byoc_close_args;
typedef struct byoc_device_info byoc_device_info;
typedef struct byoc_devices_args byoc_devices_args;
typedef struct byoc_check_match_args byoc_check_match_args;
typedef struct byoc_check_region_args byoc_check_region_args;
typedef struct byoc_compile_args byoc_compile_args;
typedef struct byoc_load_args byoc_load_args;
typedef struct byoc_check_artefact_args byoc_check_artefact_args;
typedef struct byoc_plugin_table byoc_plugin_table;
typedef struct byoc_entry_args byoc_entry_args;

typedef void (*byoc_loop_body)(void *user, uint64_t index);

/* The beginning of every struct that may grow. */
struct byoc_head {
    /* The size that the writer's version has. */
    uint32_t struct_size;
    /* What the struct says of them; others are ignored. */
    uint32_t flags;
    /* Reserved: null, and not looked at. */
    void *next;
};

/* UTF-8 text without a terminator, or bytes. Null with length 0 is the empty one. */
struct byoc_str {
    const uint8_t *data;
    uint64_t len;
};

/* Indices of nodes or values; NONE is one that is missing. */
struct byoc_indices {
    const uint64_t *data;
    uint64_t len;
};

/* A dimension of a shape. */
struct byoc_dim {
    /* DIM_KNOWN, DIM_SYMBOL or DIM_UNKNOWN; an unknown one is DIM_UNKNOWN. */
    uint32_t kind;
    uint32_t reserved;
    /* The size, -1 where it is not known. */
    int64_t size;
    /* Index of the region's symbol, NONE where it is none. */
    uint64_t symbol;
};

/* A device as DLPack names it. */
struct byoc_device_id {
    /* DLPack's device type; 1 is host memory. */
    uint32_t kind;
    uint32_t id;
};

/* An element type as DLPack names it; code DTYPE_NONE for types that DLPack does not have. Codes may be added: what has an unknown one is not taken. */
struct byoc_dtype {
    uint32_t code;
    uint32_t bits;
    uint32_t lanes;
    uint32_t reserved;
};

/* A name in a pattern and the value it is bound to. */
struct byoc_binding {
    byoc_str name;
    uint64_t value;
};

/* An option's key and value. */
struct byoc_pair {
    byoc_str key;
    byoc_str value;
};

/* Makes an error; it is what the function returns. head.flags may hold ERROR_RETRY and ERROR_PANICKED. */
struct byoc_error_new_args {
    byoc_head head;
    /* One of ERROR_*; an unknown one is ERROR_INTERNAL. */
    uint32_t category;
    uint32_t reserved;
    /* The region's node that is at fault, or NONE. */
    uint64_t node;
    byoc_str message;
};

struct byoc_error_info_args {
    byoc_head head;
    const byoc_error *error;
    uint32_t category;
    /* ERROR_RETRY and ERROR_PANICKED. */
    uint32_t error_flags;
    uint64_t node;
    /* Valid until the error is dropped. */
    byoc_str message;
};

struct byoc_error_drop_args {
    byoc_head head;
    byoc_error *error;
};

/* Lines may be lost; a log is no way to tell an error. */
struct byoc_log_args {
    byoc_head head;
    /* One of LOG_*. */
    uint32_t level;
    uint32_t reserved;
    byoc_str message;
};

/* Memory that may outlive a call. Size 0 gives a pointer of its own, too. */
struct byoc_alloc_args {
    byoc_head head;
    uint64_t size;
    uint64_t align;
    void *data;
};

struct byoc_free_args {
    byoc_head head;
    void *data;
};

struct byoc_threads_args {
    byoc_head head;
    byoc_call_token *call;
    /* How many threads parallel_for may use in this call, the caller's own included. */
    uint32_t count;
    uint32_t reserved;
};

/* Calls body(user, i) for every i below count, on the host's threads, and returns when all are done. */
struct byoc_parallel_for_args {
    byoc_head head;
    byoc_call_token *call;
    uint64_t count;
    byoc_loop_body body;
    void *user;
};

struct byoc_stop_requested_args {
    byoc_head head;
    byoc_call_token *call;
    /* 1 where the caller no longer wants the result. */
    uint32_t stop;
    uint32_t reserved;
};

/* Refuses a node of the region; in check_region and compile. */
struct byoc_refuse_node_args {
    byoc_head head;
    byoc_call_token *call;
    uint64_t node;
    byoc_str reason;
};

/* A constant's content: never to be written, valid until the executable is destroyed or the constant released. */
struct byoc_constant_args {
    byoc_head head;
    byoc_constants *constants;
    uint64_t index;
    byoc_str data;
    /* In bytes; never less than the element type needs. */
    uint64_t align;
};

/* Says that a constant is no longer needed. Doing so again does nothing. */
struct byoc_constant_release_args {
    byoc_head head;
    byoc_constants *constants;
    uint64_t index;
};

/* Allocates an output whose tensor came without data; at most once an output, before execute returns. */
struct byoc_output_alloc_args {
    byoc_head head;
    byoc_call_token *call;
    uint64_t output;
    uint64_t rank;
    const int64_t *shape;
    void *data;
    uint64_t byte_len;
};

/* Tells an output's shape; in output_shapes. */
struct byoc_output_shape_args {
    byoc_head head;
    byoc_call_token *call;
    uint64_t output;
    uint64_t rank;
    const int64_t *shape;
};

/* A span of device time within an execution, in nanoseconds of a clock of the plugin's own. */
struct byoc_profile_event_args {
    byoc_head head;
    byoc_call_token *call;
    byoc_str name;
    uint64_t start_ns;
    uint64_t end_ns;
};

/* Asks for a table by name and version, as byoc.kernel/1. */
struct byoc_get_extension_args {
    byoc_head head;
    byoc_str name;
    /* A struct with a head; null, and no error, where the name is not known. */
    const void *table;
};

struct byoc_host {
    byoc_head head;
    byoc_error *(*error_new)(byoc_error_new_args *args);
    byoc_error *(*error_info)(byoc_error_info_args *args);
    void (*error_drop)(byoc_error_drop_args *args);
    void (*log)(byoc_log_args *args);
    byoc_error *(*alloc)(byoc_alloc_args *args);
    void (*free)(byoc_free_args *args);
    byoc_error *(*threads)(byoc_threads_args *args);
    byoc_error *(*parallel_for)(byoc_parallel_for_args *args);
    byoc_error *(*stop_requested)(byoc_stop_requested_args *args);
    byoc_error *(*region_info)(byoc_region_info_args *args);
    byoc_error *(*region_node)(byoc_region_node_args *args);
    byoc_error *(*region_attr)(byoc_region_attr_args *args);
    byoc_error *(*region_value)(byoc_region_value_args *args);
    byoc_error *(*region_composite)(byoc_region_composite_args *args);
    byoc_error *(*region_symbol)(byoc_region_symbol_args *args);
    byoc_error *(*region_onnx)(byoc_region_onnx_args *args);
    byoc_error *(*refuse_node)(byoc_refuse_node_args *args);
    byoc_error *(*constant)(byoc_constant_args *args);
    byoc_error *(*constant_release)(byoc_constant_release_args *args);
    byoc_error *(*output_alloc)(byoc_output_alloc_args *args);
    byoc_error *(*output_shape)(byoc_output_shape_args *args);
    byoc_error *(*profile_event)(byoc_profile_event_args *args);
    byoc_error *(*get_extension)(byoc_get_extension_args *args);
};

struct byoc_region_info_args {
    byoc_head head;
    const byoc_region *region;
    byoc_str name;
    /* Counts; indices run from 0. */
    uint64_t nodes;
    uint64_t values;
    uint64_t composites;
    uint64_t symbols;
    uint64_t constants;
    /* Values that come in and go out, in the order of execute. */
    byoc_indices inputs;
    byoc_indices outputs;
};

/* A node; nodes are in topological order. */
struct byoc_region_node_args {
    byoc_head head;
    const byoc_region *region;
    uint64_t index;
    byoc_str name;
    byoc_str op;
    /* Empty for ONNX's own domain. */
    byoc_str domain;
    /* The opset version in which the operator got its present meaning. */
    int64_t since_version;
    /* Values; NONE for an input that is missing, or an output that nobody wants. */
    byoc_indices inputs;
    byoc_indices outputs;
    uint64_t attributes;
    /* The composite that it belongs to, or NONE. */
    uint64_t composite;
};

/* An attribute of a node, with the default of the operator where the model leaves it out. */
struct byoc_region_attr_args {
    byoc_head head;
    const byoc_region *region;
    uint64_t node;
    uint64_t index;
    byoc_str name;
    /* One of ATTR_*: says which of the fields below counts. */
    uint32_t kind;
    /* 1 where the model leaves it out. */
    uint32_t is_default;
    int64_t int_value;
    /* ATTR_FLOAT. */
    float float_value;
    uint32_t reserved;
    /* ATTR_STRING, and the raw content of ATTR_TENSOR. */
    byoc_str string;
    const int64_t *ints;
    const float *floats;
    const byoc_str *strings;
    /* How many ints, floats, strings or tensor_dims. */
    uint64_t len;
    /* ATTR_TENSOR. */
    byoc_dtype tensor_dtype;
    const int64_t *tensor_dims;
};

struct byoc_region_value_args {
    byoc_head head;
    const byoc_region *region;
    uint64_t index;
    byoc_str name;
    byoc_dtype dtype;
    /* -1 where it is not known. */
    int64_t rank;
    const byoc_dim *dims;
    /* The node that makes it, and as which output; NONE for inputs and constants. */
    uint64_t producer;
    uint64_t producer_output;
    /* Which constant it is, or NONE. */
    uint64_t constant;
};

/* Nodes matched by one pattern. */
struct byoc_region_composite_args {
    byoc_head head;
    const byoc_region *region;
    uint64_t index;
    byoc_str pattern;
    byoc_indices nodes;
    const byoc_binding *bindings;
    uint64_t bindings_len;
};

/* A dimension known by name, with the sizes to expect; 0 and INT64_MAX where there is no bound. */
struct byoc_region_symbol_args {
    byoc_head head;
    const byoc_region *region;
    uint64_t index;
    byoc_str name;
    int64_t min;
    int64_t likely;
    int64_t max;
};

/* The region as an ONNX model. */
struct byoc_region_onnx_args {
    byoc_head head;
    const byoc_region *region;
    byoc_str bytes;
};

struct byoc_device_alloc_args {
    byoc_head head;
    void *device;
    /* 0 gives an address of its own, too. */
    uint64_t size;
    uint64_t align;
    /* Never null. Perhaps no address that can be followed or added to: offsets are given beside it. */
    void *data;
};

/* Called only when everything that uses the memory is known to have completed. */
struct byoc_device_free_args {
    byoc_head head;
    void *device;
    void *data;
    /* One of FREE_*. */
    uint32_t answer;
    uint32_t reserved;
};

/* A copy between host memory and the device, within the device, or to it from another device of the plugin; an error of category unsupported says that it cannot reach that one. Offsets are in bytes; the ends do not overlap. */
struct byoc_device_copy_args {
    byoc_head head;
    void *device;
    void *dst;
    uint64_t dst_offset;
    byoc_device_id dst_device;
    const void *src;
    uint64_t src_offset;
    byoc_device_id src_device;
    uint64_t size;
    /* Null: complete on return. */
    void *stream;
};

struct byoc_device_sync_args {
    byoc_head head;
    void *device;
    /* Null: every stream of the device. */
    void *stream;
};

struct byoc_device_memory_info_args {
    byoc_head head;
    void *device;
    /* In bytes, both NONE where they are not known. */
    uint64_t free;
    uint64_t total;
};

/* Makes or destroys a stream. */
struct byoc_stream_args {
    byoc_head head;
    void *device;
    void *stream;
};

/* Makes, destroys, queries or waits for an event. */
struct byoc_event_args {
    byoc_head head;
    void *device;
    void *event;
    /* Answer of event_query: 1 where all before the event is done. */
    uint32_t done;
    uint32_t reserved;
};

/* Records an event behind what is in the stream, or makes the stream wait for it. */
struct byoc_stream_event_args {
    byoc_head head;
    void *device;
    void *stream;
    void *event;
};

/* Streams and events are there all together or not at all; without them every call is complete on return. */
struct byoc_device_table {
    byoc_head head;
    byoc_error *(*alloc)(byoc_device_alloc_args *args);
    void (*free)(byoc_device_free_args *args);
    byoc_error *(*copy)(byoc_device_copy_args *args);
    byoc_error *(*sync)(byoc_device_sync_args *args);
    byoc_error *(*memory_info)(byoc_device_memory_info_args *args);
    byoc_error *(*stream_create)(byoc_stream_args *args);
    void (*stream_destroy)(byoc_stream_args *args);
    byoc_error *(*stream_wait)(byoc_stream_event_args *args);
    byoc_error *(*event_create)(byoc_event_args *args);
    void (*event_destroy)(byoc_event_args *args);
    byoc_error *(*event_record)(byoc_stream_event_args *args);
    byoc_error *(*event_query)(byoc_event_args *args);
    byoc_error *(*event_wait)(byoc_event_args *args);
};

/* A tensor with DLPack's fields; in an execution every dimension is known. head.flags may hold TENSOR_PENDING. Elements below 8 bits are packed as ONNX packs them, the first in the lowest bits. */
struct byoc_tensor {
    byoc_head head;
    /* Null for an output that output_alloc is to allocate; of no meaning where there are no elements. */
    void *data;
    uint64_t byte_offset;
    uint64_t byte_len;
    byoc_device_id device;
    byoc_dtype dtype;
    uint64_t rank;
    const int64_t *shape;
    /* In elements; always there where the rank is not 0. */
    const int64_t *strides;
    /* The region's value. */
    uint64_t value;
};

struct byoc_execute_args {
    byoc_head head;
    byoc_call_token *call;
    void *executable;
    /* Null where the executable has no contexts. */
    void *context;
    const byoc_tensor *const *inputs;
    uint64_t inputs_len;
    byoc_tensor *const *outputs;
    uint64_t outputs_len;
    /* Host memory, as workspace has asked for it; nothing is kept in it from one execution to the next. */
    void *workspace;
    uint64_t workspace_len;
    /* Null: complete on return. Else enqueued on return; inputs and workspace stay valid until the event behind. */
    void *stream;
};

/* For destroy and for questions without further arguments. */
struct byoc_executable_args {
    byoc_head head;
    void *executable;
};

struct byoc_context_args {
    byoc_head head;
    void *executable;
    void *context;
};

/* What the executable wants of one input or output; all zeros are the default. head.flags may hold IO_ALIAS. */
struct byoc_io_spec {
    byoc_head head;
    /* Of kind 0 for where it was compiled for, or host memory where that device has none of its own. */
    byoc_device_id device;
    /* In bytes, a power of two; 0 for 64. */
    uint64_t align;
    /* For an output with IO_ALIAS: the input whose memory it may be given. */
    uint64_t alias;
};

/* The arrays live as long as the executable; empty ones stand for the default. */
struct byoc_io_args {
    byoc_head head;
    void *executable;
    const byoc_io_spec *const *inputs;
    uint64_t inputs_len;
    const byoc_io_spec *const *outputs;
    uint64_t outputs_len;
};

/* Scratch memory for one execution with inputs of these shapes, in host memory. What a device needs of its own the executable allocates there. */
struct byoc_workspace_args {
    byoc_head head;
    void *executable;
    const byoc_tensor *const *inputs;
    uint64_t inputs_len;
    uint64_t size;
    uint64_t align;
};

/* Shapes of the outputs from shapes (and perhaps content) of inputs, told through the host's output_shape. */
struct byoc_output_shapes_args {
    byoc_head head;
    byoc_call_token *call;
    void *executable;
    const byoc_tensor *const *inputs;
    uint64_t inputs_len;
};

/* The artefact is in memory from the host's alloc, which the host frees; the compatibility string lives as long as the executable. */
struct byoc_serialise_args {
    byoc_head head;
    void *executable;
    void *data;
    uint64_t len;
    byoc_str compatibility;
};

/* Device time of the last completed execution, NONE where it is not known. */
struct byoc_device_time_args {
    byoc_head head;
    void *executable;
    void *context;
    uint64_t ns;
};

/* head.flags may hold CONCURRENT. */
struct byoc_executable_table {
    byoc_head head;
    byoc_error *(*execute)(byoc_execute_args *args);
    void (*destroy)(byoc_executable_args *args);
    /* Default: dense host memory, 64-byte aligned, no aliasing. */
    byoc_error *(*io)(byoc_io_args *args);
    /* Default: none. */
    byoc_error *(*workspace)(byoc_workspace_args *args);
    /* Default: the host infers, or outputs are pending. */
    byoc_error *(*output_shapes)(byoc_output_shapes_args *args);
    /* Default: not serialisable. */
    byoc_error *(*serialise)(byoc_serialise_args *args);
    /* Default: unknown. */
    byoc_error *(*device_time)(byoc_device_time_args *args);
    /* Default: null contexts, one execution at a time unless CONCURRENT. */
    byoc_error *(*context_create)(byoc_context_args *args);
    void (*context_destroy)(byoc_context_args *args);
};

/* An option that the plugin has. */
struct byoc_option_decl {
    byoc_head head;
    /* One of OPTION_*; an unknown one is a string. */
    uint32_t kind;
    uint32_t reserved;
    byoc_str name;
    byoc_str default_value;
    byoc_str help;
};

/* Options are complete and valid; the state is what every later call gets. A host may open a plugin several times: the states have nothing to do with each other. */
struct byoc_open_args {
    byoc_head head;
    const byoc_pair *options;
    uint64_t options_len;
    void *state;
};

struct byoc_close_args {
    byoc_head head;
    void *state;
};

/* A device. Lives as long as the state. */
struct byoc_device_info {
    byoc_head head;
    /* No two devices of a plugin have the same. */
    byoc_device_id id;
    byoc_str name;
    /* 0 where it is not known. */
    uint64_t memory_bytes;
    /* Null: it computes in host memory. */
    const byoc_device_table *table;
    void *device;
};

struct byoc_devices_args {
    byoc_head head;
    void *state;
    const byoc_device_info *const *devices;
    uint64_t devices_len;
};

/* May this match be taken? An error of category unsupported says no, its message why. The region is the match. */
struct byoc_check_match_args {
    byoc_head head;
    byoc_call_token *call;
    void *state;
    const byoc_region *region;
    /* Those of the region, valid for this call. */
    byoc_constants *constants;
};

/* What would this region cost? Nodes are refused through the host's refuse_node. */
struct byoc_check_region_args {
    byoc_head head;
    byoc_call_token *call;
    void *state;
    const byoc_region *region;
    /* Those of the region, valid for this call. */
    byoc_constants *constants;
    byoc_device_id device;
    /* In µs; below 0 where it is not known. */
    double fixed_us;
    double compute_us;
};

struct byoc_compile_args {
    byoc_head head;
    byoc_call_token *call;
    void *state;
    const byoc_region *region;
    byoc_constants *constants;
    byoc_device_id device;
    const byoc_pair *options;
    uint64_t options_len;
    /* How many threads compiling may use. */
    uint32_t threads;
    uint32_t reserved;
    /* Time left, 0 for no limit. */
    uint64_t timeout_ns;
    /* Out: lives as long as the library. */
    const byoc_executable_table *table;
    void *executable;
};

/* Makes an executable of an artefact; constants have the indices that they had in compile. */
struct byoc_load_args {
    byoc_head head;
    byoc_call_token *call;
    void *state;
    byoc_constants *constants;
    uint64_t constants_len;
    byoc_device_id device;
    byoc_str artefact;
    const byoc_executable_table *table;
    void *executable;
};

/* Would an artefact with this compatibility string run here? */
struct byoc_check_artefact_args {
    byoc_head head;
    void *state;
    byoc_device_id device;
    byoc_str compatibility;
    /* One of ARTEFACT_*; an unknown one is ARTEFACT_FOREIGN. */
    uint32_t answer;
    uint32_t reserved;
};

/* The plugin. head.flags may hold CONCURRENT; without it the host makes one call at a time. */
struct byoc_plugin_table {
    byoc_head head;
    byoc_str name;
    byoc_str version;
    /* TOML, schema 1. */
    byoc_str pattern_table;
    const byoc_option_decl *const *options;
    uint64_t options_len;
    /* THREADS_HOST or THREADS_OWN; an unknown one is THREADS_HOST. */
    uint32_t thread_policy;
    /* How many of its own. */
    uint32_t own_threads;
    /* Features that the host may ignore. */
    uint64_t optional_features;
    /* Features without which the plugin does not work; the host refuses those it does not know. 1.0 has none. */
    uint64_t required_features;
    /* Default: no state. */
    byoc_error *(*open)(byoc_open_args *args);
    void (*close)(byoc_close_args *args);
    /* Default: one, host memory. */
    byoc_error *(*devices)(byoc_devices_args *args);
    /* Default: accept. */
    byoc_error *(*check_match)(byoc_check_match_args *args);
    /* Default: accept, cost unknown. */
    byoc_error *(*check_region)(byoc_check_region_args *args);
    /* Mandatory in a plugin that takes regions, as all of 1.0 do. */
    byoc_error *(*compile)(byoc_compile_args *args);
    /* Default: not serialisable. */
    byoc_error *(*load)(byoc_load_args *args);
    /* Default: ARTEFACT_FOREIGN, so that the region is compiled anew. */
    byoc_error *(*check_artefact)(byoc_check_artefact_args *args);
    /* Default: none. Answers by the name alone, at any time after the entry; what it gives lives as long as the library. */
    byoc_error *(*get_extension)(byoc_get_extension_args *args);
};

/* In: the host's epoch, minor and table. Out: the plugin's table and the minor that both have. */
struct byoc_entry_args {
    byoc_head head;
    uint32_t epoch;
    uint32_t minor;
    const byoc_host *host;
    const byoc_plugin_table *plugin;
    uint32_t agreed_minor;
    uint32_t plugin_epoch;
};

#define BYOC_HEAD_MIN_SIZE 16
BYOC_ASSERT(sizeof(byoc_head) == 16);
BYOC_ASSERT(offsetof(byoc_head, struct_size) == 0);
BYOC_ASSERT(offsetof(byoc_head, flags) == 4);
BYOC_ASSERT(offsetof(byoc_head, next) == 8);
#define BYOC_STR_MIN_SIZE 16
BYOC_ASSERT(sizeof(byoc_str) == 16);
BYOC_ASSERT(offsetof(byoc_str, data) == 0);
BYOC_ASSERT(offsetof(byoc_str, len) == 8);
#define BYOC_INDICES_MIN_SIZE 16
BYOC_ASSERT(sizeof(byoc_indices) == 16);
BYOC_ASSERT(offsetof(byoc_indices, data) == 0);
BYOC_ASSERT(offsetof(byoc_indices, len) == 8);
#define BYOC_DIM_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_dim) == 24);
BYOC_ASSERT(offsetof(byoc_dim, kind) == 0);
BYOC_ASSERT(offsetof(byoc_dim, reserved) == 4);
BYOC_ASSERT(offsetof(byoc_dim, size) == 8);
BYOC_ASSERT(offsetof(byoc_dim, symbol) == 16);
#define BYOC_DEVICE_ID_MIN_SIZE 8
BYOC_ASSERT(sizeof(byoc_device_id) == 8);
BYOC_ASSERT(offsetof(byoc_device_id, kind) == 0);
BYOC_ASSERT(offsetof(byoc_device_id, id) == 4);
#define BYOC_DTYPE_MIN_SIZE 16
BYOC_ASSERT(sizeof(byoc_dtype) == 16);
BYOC_ASSERT(offsetof(byoc_dtype, code) == 0);
BYOC_ASSERT(offsetof(byoc_dtype, bits) == 4);
BYOC_ASSERT(offsetof(byoc_dtype, lanes) == 8);
BYOC_ASSERT(offsetof(byoc_dtype, reserved) == 12);
#define BYOC_BINDING_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_binding) == 24);
BYOC_ASSERT(offsetof(byoc_binding, name) == 0);
BYOC_ASSERT(offsetof(byoc_binding, value) == 16);
#define BYOC_PAIR_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_pair) == 32);
BYOC_ASSERT(offsetof(byoc_pair, key) == 0);
BYOC_ASSERT(offsetof(byoc_pair, value) == 16);
#define BYOC_ERROR_NEW_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_error_new_args) == 48);
BYOC_ASSERT(offsetof(byoc_error_new_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_error_new_args, category) == 16);
BYOC_ASSERT(offsetof(byoc_error_new_args, reserved) == 20);
BYOC_ASSERT(offsetof(byoc_error_new_args, node) == 24);
BYOC_ASSERT(offsetof(byoc_error_new_args, message) == 32);
#define BYOC_ERROR_INFO_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_error_info_args) == 56);
BYOC_ASSERT(offsetof(byoc_error_info_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_error_info_args, error) == 16);
BYOC_ASSERT(offsetof(byoc_error_info_args, category) == 24);
BYOC_ASSERT(offsetof(byoc_error_info_args, error_flags) == 28);
BYOC_ASSERT(offsetof(byoc_error_info_args, node) == 32);
BYOC_ASSERT(offsetof(byoc_error_info_args, message) == 40);
#define BYOC_ERROR_DROP_ARGS_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_error_drop_args) == 24);
BYOC_ASSERT(offsetof(byoc_error_drop_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_error_drop_args, error) == 16);
#define BYOC_LOG_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_log_args) == 40);
BYOC_ASSERT(offsetof(byoc_log_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_log_args, level) == 16);
BYOC_ASSERT(offsetof(byoc_log_args, reserved) == 20);
BYOC_ASSERT(offsetof(byoc_log_args, message) == 24);
#define BYOC_ALLOC_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_alloc_args) == 40);
BYOC_ASSERT(offsetof(byoc_alloc_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_alloc_args, size) == 16);
BYOC_ASSERT(offsetof(byoc_alloc_args, align) == 24);
BYOC_ASSERT(offsetof(byoc_alloc_args, data) == 32);
#define BYOC_FREE_ARGS_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_free_args) == 24);
BYOC_ASSERT(offsetof(byoc_free_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_free_args, data) == 16);
#define BYOC_THREADS_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_threads_args) == 32);
BYOC_ASSERT(offsetof(byoc_threads_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_threads_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_threads_args, count) == 24);
BYOC_ASSERT(offsetof(byoc_threads_args, reserved) == 28);
#define BYOC_PARALLEL_FOR_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_parallel_for_args) == 48);
BYOC_ASSERT(offsetof(byoc_parallel_for_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_parallel_for_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_parallel_for_args, count) == 24);
BYOC_ASSERT(offsetof(byoc_parallel_for_args, body) == 32);
BYOC_ASSERT(offsetof(byoc_parallel_for_args, user) == 40);
#define BYOC_STOP_REQUESTED_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_stop_requested_args) == 32);
BYOC_ASSERT(offsetof(byoc_stop_requested_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_stop_requested_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_stop_requested_args, stop) == 24);
BYOC_ASSERT(offsetof(byoc_stop_requested_args, reserved) == 28);
#define BYOC_REFUSE_NODE_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_refuse_node_args) == 48);
BYOC_ASSERT(offsetof(byoc_refuse_node_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_refuse_node_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_refuse_node_args, node) == 24);
BYOC_ASSERT(offsetof(byoc_refuse_node_args, reason) == 32);
#define BYOC_CONSTANT_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_constant_args) == 56);
BYOC_ASSERT(offsetof(byoc_constant_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_constant_args, constants) == 16);
BYOC_ASSERT(offsetof(byoc_constant_args, index) == 24);
BYOC_ASSERT(offsetof(byoc_constant_args, data) == 32);
BYOC_ASSERT(offsetof(byoc_constant_args, align) == 48);
#define BYOC_CONSTANT_RELEASE_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_constant_release_args) == 32);
BYOC_ASSERT(offsetof(byoc_constant_release_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_constant_release_args, constants) == 16);
BYOC_ASSERT(offsetof(byoc_constant_release_args, index) == 24);
#define BYOC_OUTPUT_ALLOC_ARGS_MIN_SIZE 64
BYOC_ASSERT(sizeof(byoc_output_alloc_args) == 64);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, output) == 24);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, rank) == 32);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, shape) == 40);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, data) == 48);
BYOC_ASSERT(offsetof(byoc_output_alloc_args, byte_len) == 56);
#define BYOC_OUTPUT_SHAPE_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_output_shape_args) == 48);
BYOC_ASSERT(offsetof(byoc_output_shape_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_output_shape_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_output_shape_args, output) == 24);
BYOC_ASSERT(offsetof(byoc_output_shape_args, rank) == 32);
BYOC_ASSERT(offsetof(byoc_output_shape_args, shape) == 40);
#define BYOC_PROFILE_EVENT_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_profile_event_args) == 56);
BYOC_ASSERT(offsetof(byoc_profile_event_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_profile_event_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_profile_event_args, name) == 24);
BYOC_ASSERT(offsetof(byoc_profile_event_args, start_ns) == 40);
BYOC_ASSERT(offsetof(byoc_profile_event_args, end_ns) == 48);
#define BYOC_GET_EXTENSION_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_get_extension_args) == 40);
BYOC_ASSERT(offsetof(byoc_get_extension_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_get_extension_args, name) == 16);
BYOC_ASSERT(offsetof(byoc_get_extension_args, table) == 32);
#define BYOC_HOST_MIN_SIZE 200
BYOC_ASSERT(sizeof(byoc_host) == 200);
BYOC_ASSERT(offsetof(byoc_host, head) == 0);
BYOC_ASSERT(offsetof(byoc_host, error_new) == 16);
BYOC_ASSERT(offsetof(byoc_host, error_info) == 24);
BYOC_ASSERT(offsetof(byoc_host, error_drop) == 32);
BYOC_ASSERT(offsetof(byoc_host, log) == 40);
BYOC_ASSERT(offsetof(byoc_host, alloc) == 48);
BYOC_ASSERT(offsetof(byoc_host, free) == 56);
BYOC_ASSERT(offsetof(byoc_host, threads) == 64);
BYOC_ASSERT(offsetof(byoc_host, parallel_for) == 72);
BYOC_ASSERT(offsetof(byoc_host, stop_requested) == 80);
BYOC_ASSERT(offsetof(byoc_host, region_info) == 88);
BYOC_ASSERT(offsetof(byoc_host, region_node) == 96);
BYOC_ASSERT(offsetof(byoc_host, region_attr) == 104);
BYOC_ASSERT(offsetof(byoc_host, region_value) == 112);
BYOC_ASSERT(offsetof(byoc_host, region_composite) == 120);
BYOC_ASSERT(offsetof(byoc_host, region_symbol) == 128);
BYOC_ASSERT(offsetof(byoc_host, region_onnx) == 136);
BYOC_ASSERT(offsetof(byoc_host, refuse_node) == 144);
BYOC_ASSERT(offsetof(byoc_host, constant) == 152);
BYOC_ASSERT(offsetof(byoc_host, constant_release) == 160);
BYOC_ASSERT(offsetof(byoc_host, output_alloc) == 168);
BYOC_ASSERT(offsetof(byoc_host, output_shape) == 176);
BYOC_ASSERT(offsetof(byoc_host, profile_event) == 184);
BYOC_ASSERT(offsetof(byoc_host, get_extension) == 192);
#define BYOC_REGION_INFO_ARGS_MIN_SIZE 112
BYOC_ASSERT(sizeof(byoc_region_info_args) == 112);
BYOC_ASSERT(offsetof(byoc_region_info_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_info_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_info_args, name) == 24);
BYOC_ASSERT(offsetof(byoc_region_info_args, nodes) == 40);
BYOC_ASSERT(offsetof(byoc_region_info_args, values) == 48);
BYOC_ASSERT(offsetof(byoc_region_info_args, composites) == 56);
BYOC_ASSERT(offsetof(byoc_region_info_args, symbols) == 64);
BYOC_ASSERT(offsetof(byoc_region_info_args, constants) == 72);
BYOC_ASSERT(offsetof(byoc_region_info_args, inputs) == 80);
BYOC_ASSERT(offsetof(byoc_region_info_args, outputs) == 96);
#define BYOC_REGION_NODE_ARGS_MIN_SIZE 136
BYOC_ASSERT(sizeof(byoc_region_node_args) == 136);
BYOC_ASSERT(offsetof(byoc_region_node_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_node_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_node_args, index) == 24);
BYOC_ASSERT(offsetof(byoc_region_node_args, name) == 32);
BYOC_ASSERT(offsetof(byoc_region_node_args, op) == 48);
BYOC_ASSERT(offsetof(byoc_region_node_args, domain) == 64);
BYOC_ASSERT(offsetof(byoc_region_node_args, since_version) == 80);
BYOC_ASSERT(offsetof(byoc_region_node_args, inputs) == 88);
BYOC_ASSERT(offsetof(byoc_region_node_args, outputs) == 104);
BYOC_ASSERT(offsetof(byoc_region_node_args, attributes) == 120);
BYOC_ASSERT(offsetof(byoc_region_node_args, composite) == 128);
#define BYOC_REGION_ATTR_ARGS_MIN_SIZE 152
BYOC_ASSERT(sizeof(byoc_region_attr_args) == 152);
BYOC_ASSERT(offsetof(byoc_region_attr_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_attr_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_attr_args, node) == 24);
BYOC_ASSERT(offsetof(byoc_region_attr_args, index) == 32);
BYOC_ASSERT(offsetof(byoc_region_attr_args, name) == 40);
BYOC_ASSERT(offsetof(byoc_region_attr_args, kind) == 56);
BYOC_ASSERT(offsetof(byoc_region_attr_args, is_default) == 60);
BYOC_ASSERT(offsetof(byoc_region_attr_args, int_value) == 64);
BYOC_ASSERT(offsetof(byoc_region_attr_args, float_value) == 72);
BYOC_ASSERT(offsetof(byoc_region_attr_args, reserved) == 76);
BYOC_ASSERT(offsetof(byoc_region_attr_args, string) == 80);
BYOC_ASSERT(offsetof(byoc_region_attr_args, ints) == 96);
BYOC_ASSERT(offsetof(byoc_region_attr_args, floats) == 104);
BYOC_ASSERT(offsetof(byoc_region_attr_args, strings) == 112);
BYOC_ASSERT(offsetof(byoc_region_attr_args, len) == 120);
BYOC_ASSERT(offsetof(byoc_region_attr_args, tensor_dtype) == 128);
BYOC_ASSERT(offsetof(byoc_region_attr_args, tensor_dims) == 144);
#define BYOC_REGION_VALUE_ARGS_MIN_SIZE 104
BYOC_ASSERT(sizeof(byoc_region_value_args) == 104);
BYOC_ASSERT(offsetof(byoc_region_value_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_value_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_value_args, index) == 24);
BYOC_ASSERT(offsetof(byoc_region_value_args, name) == 32);
BYOC_ASSERT(offsetof(byoc_region_value_args, dtype) == 48);
BYOC_ASSERT(offsetof(byoc_region_value_args, rank) == 64);
BYOC_ASSERT(offsetof(byoc_region_value_args, dims) == 72);
BYOC_ASSERT(offsetof(byoc_region_value_args, producer) == 80);
BYOC_ASSERT(offsetof(byoc_region_value_args, producer_output) == 88);
BYOC_ASSERT(offsetof(byoc_region_value_args, constant) == 96);
#define BYOC_REGION_COMPOSITE_ARGS_MIN_SIZE 80
BYOC_ASSERT(sizeof(byoc_region_composite_args) == 80);
BYOC_ASSERT(offsetof(byoc_region_composite_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_composite_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_composite_args, index) == 24);
BYOC_ASSERT(offsetof(byoc_region_composite_args, pattern) == 32);
BYOC_ASSERT(offsetof(byoc_region_composite_args, nodes) == 48);
BYOC_ASSERT(offsetof(byoc_region_composite_args, bindings) == 64);
BYOC_ASSERT(offsetof(byoc_region_composite_args, bindings_len) == 72);
#define BYOC_REGION_SYMBOL_ARGS_MIN_SIZE 72
BYOC_ASSERT(sizeof(byoc_region_symbol_args) == 72);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, index) == 24);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, name) == 32);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, min) == 48);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, likely) == 56);
BYOC_ASSERT(offsetof(byoc_region_symbol_args, max) == 64);
#define BYOC_REGION_ONNX_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_region_onnx_args) == 40);
BYOC_ASSERT(offsetof(byoc_region_onnx_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_region_onnx_args, region) == 16);
BYOC_ASSERT(offsetof(byoc_region_onnx_args, bytes) == 24);
#define BYOC_DEVICE_ALLOC_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_device_alloc_args) == 48);
BYOC_ASSERT(offsetof(byoc_device_alloc_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_alloc_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_device_alloc_args, size) == 24);
BYOC_ASSERT(offsetof(byoc_device_alloc_args, align) == 32);
BYOC_ASSERT(offsetof(byoc_device_alloc_args, data) == 40);
#define BYOC_DEVICE_FREE_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_device_free_args) == 40);
BYOC_ASSERT(offsetof(byoc_device_free_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_free_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_device_free_args, data) == 24);
BYOC_ASSERT(offsetof(byoc_device_free_args, answer) == 32);
BYOC_ASSERT(offsetof(byoc_device_free_args, reserved) == 36);
#define BYOC_DEVICE_COPY_ARGS_MIN_SIZE 88
BYOC_ASSERT(sizeof(byoc_device_copy_args) == 88);
BYOC_ASSERT(offsetof(byoc_device_copy_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_copy_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_device_copy_args, dst) == 24);
BYOC_ASSERT(offsetof(byoc_device_copy_args, dst_offset) == 32);
BYOC_ASSERT(offsetof(byoc_device_copy_args, dst_device) == 40);
BYOC_ASSERT(offsetof(byoc_device_copy_args, src) == 48);
BYOC_ASSERT(offsetof(byoc_device_copy_args, src_offset) == 56);
BYOC_ASSERT(offsetof(byoc_device_copy_args, src_device) == 64);
BYOC_ASSERT(offsetof(byoc_device_copy_args, size) == 72);
BYOC_ASSERT(offsetof(byoc_device_copy_args, stream) == 80);
#define BYOC_DEVICE_SYNC_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_device_sync_args) == 32);
BYOC_ASSERT(offsetof(byoc_device_sync_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_sync_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_device_sync_args, stream) == 24);
#define BYOC_DEVICE_MEMORY_INFO_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_device_memory_info_args) == 40);
BYOC_ASSERT(offsetof(byoc_device_memory_info_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_memory_info_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_device_memory_info_args, free) == 24);
BYOC_ASSERT(offsetof(byoc_device_memory_info_args, total) == 32);
#define BYOC_STREAM_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_stream_args) == 32);
BYOC_ASSERT(offsetof(byoc_stream_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_stream_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_stream_args, stream) == 24);
#define BYOC_EVENT_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_event_args) == 40);
BYOC_ASSERT(offsetof(byoc_event_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_event_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_event_args, event) == 24);
BYOC_ASSERT(offsetof(byoc_event_args, done) == 32);
BYOC_ASSERT(offsetof(byoc_event_args, reserved) == 36);
#define BYOC_STREAM_EVENT_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_stream_event_args) == 40);
BYOC_ASSERT(offsetof(byoc_stream_event_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_stream_event_args, device) == 16);
BYOC_ASSERT(offsetof(byoc_stream_event_args, stream) == 24);
BYOC_ASSERT(offsetof(byoc_stream_event_args, event) == 32);
#define BYOC_DEVICE_TABLE_MIN_SIZE 120
BYOC_ASSERT(sizeof(byoc_device_table) == 120);
BYOC_ASSERT(offsetof(byoc_device_table, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_table, alloc) == 16);
BYOC_ASSERT(offsetof(byoc_device_table, free) == 24);
BYOC_ASSERT(offsetof(byoc_device_table, copy) == 32);
BYOC_ASSERT(offsetof(byoc_device_table, sync) == 40);
BYOC_ASSERT(offsetof(byoc_device_table, memory_info) == 48);
BYOC_ASSERT(offsetof(byoc_device_table, stream_create) == 56);
BYOC_ASSERT(offsetof(byoc_device_table, stream_destroy) == 64);
BYOC_ASSERT(offsetof(byoc_device_table, stream_wait) == 72);
BYOC_ASSERT(offsetof(byoc_device_table, event_create) == 80);
BYOC_ASSERT(offsetof(byoc_device_table, event_destroy) == 88);
BYOC_ASSERT(offsetof(byoc_device_table, event_record) == 96);
BYOC_ASSERT(offsetof(byoc_device_table, event_query) == 104);
BYOC_ASSERT(offsetof(byoc_device_table, event_wait) == 112);
#define BYOC_TENSOR_MIN_SIZE 96
BYOC_ASSERT(sizeof(byoc_tensor) == 96);
BYOC_ASSERT(offsetof(byoc_tensor, head) == 0);
BYOC_ASSERT(offsetof(byoc_tensor, data) == 16);
BYOC_ASSERT(offsetof(byoc_tensor, byte_offset) == 24);
BYOC_ASSERT(offsetof(byoc_tensor, byte_len) == 32);
BYOC_ASSERT(offsetof(byoc_tensor, device) == 40);
BYOC_ASSERT(offsetof(byoc_tensor, dtype) == 48);
BYOC_ASSERT(offsetof(byoc_tensor, rank) == 64);
BYOC_ASSERT(offsetof(byoc_tensor, shape) == 72);
BYOC_ASSERT(offsetof(byoc_tensor, strides) == 80);
BYOC_ASSERT(offsetof(byoc_tensor, value) == 88);
#define BYOC_EXECUTE_ARGS_MIN_SIZE 96
BYOC_ASSERT(sizeof(byoc_execute_args) == 96);
BYOC_ASSERT(offsetof(byoc_execute_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_execute_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_execute_args, executable) == 24);
BYOC_ASSERT(offsetof(byoc_execute_args, context) == 32);
BYOC_ASSERT(offsetof(byoc_execute_args, inputs) == 40);
BYOC_ASSERT(offsetof(byoc_execute_args, inputs_len) == 48);
BYOC_ASSERT(offsetof(byoc_execute_args, outputs) == 56);
BYOC_ASSERT(offsetof(byoc_execute_args, outputs_len) == 64);
BYOC_ASSERT(offsetof(byoc_execute_args, workspace) == 72);
BYOC_ASSERT(offsetof(byoc_execute_args, workspace_len) == 80);
BYOC_ASSERT(offsetof(byoc_execute_args, stream) == 88);
#define BYOC_EXECUTABLE_ARGS_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_executable_args) == 24);
BYOC_ASSERT(offsetof(byoc_executable_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_executable_args, executable) == 16);
#define BYOC_CONTEXT_ARGS_MIN_SIZE 32
BYOC_ASSERT(sizeof(byoc_context_args) == 32);
BYOC_ASSERT(offsetof(byoc_context_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_context_args, executable) == 16);
BYOC_ASSERT(offsetof(byoc_context_args, context) == 24);
#define BYOC_IO_SPEC_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_io_spec) == 40);
BYOC_ASSERT(offsetof(byoc_io_spec, head) == 0);
BYOC_ASSERT(offsetof(byoc_io_spec, device) == 16);
BYOC_ASSERT(offsetof(byoc_io_spec, align) == 24);
BYOC_ASSERT(offsetof(byoc_io_spec, alias) == 32);
#define BYOC_IO_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_io_args) == 56);
BYOC_ASSERT(offsetof(byoc_io_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_io_args, executable) == 16);
BYOC_ASSERT(offsetof(byoc_io_args, inputs) == 24);
BYOC_ASSERT(offsetof(byoc_io_args, inputs_len) == 32);
BYOC_ASSERT(offsetof(byoc_io_args, outputs) == 40);
BYOC_ASSERT(offsetof(byoc_io_args, outputs_len) == 48);
#define BYOC_WORKSPACE_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_workspace_args) == 56);
BYOC_ASSERT(offsetof(byoc_workspace_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_workspace_args, executable) == 16);
BYOC_ASSERT(offsetof(byoc_workspace_args, inputs) == 24);
BYOC_ASSERT(offsetof(byoc_workspace_args, inputs_len) == 32);
BYOC_ASSERT(offsetof(byoc_workspace_args, size) == 40);
BYOC_ASSERT(offsetof(byoc_workspace_args, align) == 48);
#define BYOC_OUTPUT_SHAPES_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_output_shapes_args) == 48);
BYOC_ASSERT(offsetof(byoc_output_shapes_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_output_shapes_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_output_shapes_args, executable) == 24);
BYOC_ASSERT(offsetof(byoc_output_shapes_args, inputs) == 32);
BYOC_ASSERT(offsetof(byoc_output_shapes_args, inputs_len) == 40);
#define BYOC_SERIALISE_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_serialise_args) == 56);
BYOC_ASSERT(offsetof(byoc_serialise_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_serialise_args, executable) == 16);
BYOC_ASSERT(offsetof(byoc_serialise_args, data) == 24);
BYOC_ASSERT(offsetof(byoc_serialise_args, len) == 32);
BYOC_ASSERT(offsetof(byoc_serialise_args, compatibility) == 40);
#define BYOC_DEVICE_TIME_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_device_time_args) == 40);
BYOC_ASSERT(offsetof(byoc_device_time_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_time_args, executable) == 16);
BYOC_ASSERT(offsetof(byoc_device_time_args, context) == 24);
BYOC_ASSERT(offsetof(byoc_device_time_args, ns) == 32);
#define BYOC_EXECUTABLE_TABLE_MIN_SIZE 88
BYOC_ASSERT(sizeof(byoc_executable_table) == 88);
BYOC_ASSERT(offsetof(byoc_executable_table, head) == 0);
BYOC_ASSERT(offsetof(byoc_executable_table, execute) == 16);
BYOC_ASSERT(offsetof(byoc_executable_table, destroy) == 24);
BYOC_ASSERT(offsetof(byoc_executable_table, io) == 32);
BYOC_ASSERT(offsetof(byoc_executable_table, workspace) == 40);
BYOC_ASSERT(offsetof(byoc_executable_table, output_shapes) == 48);
BYOC_ASSERT(offsetof(byoc_executable_table, serialise) == 56);
BYOC_ASSERT(offsetof(byoc_executable_table, device_time) == 64);
BYOC_ASSERT(offsetof(byoc_executable_table, context_create) == 72);
BYOC_ASSERT(offsetof(byoc_executable_table, context_destroy) == 80);
#define BYOC_OPTION_DECL_MIN_SIZE 72
BYOC_ASSERT(sizeof(byoc_option_decl) == 72);
BYOC_ASSERT(offsetof(byoc_option_decl, head) == 0);
BYOC_ASSERT(offsetof(byoc_option_decl, kind) == 16);
BYOC_ASSERT(offsetof(byoc_option_decl, reserved) == 20);
BYOC_ASSERT(offsetof(byoc_option_decl, name) == 24);
BYOC_ASSERT(offsetof(byoc_option_decl, default_value) == 40);
BYOC_ASSERT(offsetof(byoc_option_decl, help) == 56);
#define BYOC_OPEN_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_open_args) == 40);
BYOC_ASSERT(offsetof(byoc_open_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_open_args, options) == 16);
BYOC_ASSERT(offsetof(byoc_open_args, options_len) == 24);
BYOC_ASSERT(offsetof(byoc_open_args, state) == 32);
#define BYOC_CLOSE_ARGS_MIN_SIZE 24
BYOC_ASSERT(sizeof(byoc_close_args) == 24);
BYOC_ASSERT(offsetof(byoc_close_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_close_args, state) == 16);
#define BYOC_DEVICE_INFO_MIN_SIZE 64
BYOC_ASSERT(sizeof(byoc_device_info) == 64);
BYOC_ASSERT(offsetof(byoc_device_info, head) == 0);
BYOC_ASSERT(offsetof(byoc_device_info, id) == 16);
BYOC_ASSERT(offsetof(byoc_device_info, name) == 24);
BYOC_ASSERT(offsetof(byoc_device_info, memory_bytes) == 40);
BYOC_ASSERT(offsetof(byoc_device_info, table) == 48);
BYOC_ASSERT(offsetof(byoc_device_info, device) == 56);
#define BYOC_DEVICES_ARGS_MIN_SIZE 40
BYOC_ASSERT(sizeof(byoc_devices_args) == 40);
BYOC_ASSERT(offsetof(byoc_devices_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_devices_args, state) == 16);
BYOC_ASSERT(offsetof(byoc_devices_args, devices) == 24);
BYOC_ASSERT(offsetof(byoc_devices_args, devices_len) == 32);
#define BYOC_CHECK_MATCH_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_check_match_args) == 48);
BYOC_ASSERT(offsetof(byoc_check_match_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_check_match_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_check_match_args, state) == 24);
BYOC_ASSERT(offsetof(byoc_check_match_args, region) == 32);
BYOC_ASSERT(offsetof(byoc_check_match_args, constants) == 40);
#define BYOC_CHECK_REGION_ARGS_MIN_SIZE 72
BYOC_ASSERT(sizeof(byoc_check_region_args) == 72);
BYOC_ASSERT(offsetof(byoc_check_region_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_check_region_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_check_region_args, state) == 24);
BYOC_ASSERT(offsetof(byoc_check_region_args, region) == 32);
BYOC_ASSERT(offsetof(byoc_check_region_args, constants) == 40);
BYOC_ASSERT(offsetof(byoc_check_region_args, device) == 48);
BYOC_ASSERT(offsetof(byoc_check_region_args, fixed_us) == 56);
BYOC_ASSERT(offsetof(byoc_check_region_args, compute_us) == 64);
#define BYOC_COMPILE_ARGS_MIN_SIZE 104
BYOC_ASSERT(sizeof(byoc_compile_args) == 104);
BYOC_ASSERT(offsetof(byoc_compile_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_compile_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_compile_args, state) == 24);
BYOC_ASSERT(offsetof(byoc_compile_args, region) == 32);
BYOC_ASSERT(offsetof(byoc_compile_args, constants) == 40);
BYOC_ASSERT(offsetof(byoc_compile_args, device) == 48);
BYOC_ASSERT(offsetof(byoc_compile_args, options) == 56);
BYOC_ASSERT(offsetof(byoc_compile_args, options_len) == 64);
BYOC_ASSERT(offsetof(byoc_compile_args, threads) == 72);
BYOC_ASSERT(offsetof(byoc_compile_args, reserved) == 76);
BYOC_ASSERT(offsetof(byoc_compile_args, timeout_ns) == 80);
BYOC_ASSERT(offsetof(byoc_compile_args, table) == 88);
BYOC_ASSERT(offsetof(byoc_compile_args, executable) == 96);
#define BYOC_LOAD_ARGS_MIN_SIZE 88
BYOC_ASSERT(sizeof(byoc_load_args) == 88);
BYOC_ASSERT(offsetof(byoc_load_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_load_args, call) == 16);
BYOC_ASSERT(offsetof(byoc_load_args, state) == 24);
BYOC_ASSERT(offsetof(byoc_load_args, constants) == 32);
BYOC_ASSERT(offsetof(byoc_load_args, constants_len) == 40);
BYOC_ASSERT(offsetof(byoc_load_args, device) == 48);
BYOC_ASSERT(offsetof(byoc_load_args, artefact) == 56);
BYOC_ASSERT(offsetof(byoc_load_args, table) == 72);
BYOC_ASSERT(offsetof(byoc_load_args, executable) == 80);
#define BYOC_CHECK_ARTEFACT_ARGS_MIN_SIZE 56
BYOC_ASSERT(sizeof(byoc_check_artefact_args) == 56);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, state) == 16);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, device) == 24);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, compatibility) == 32);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, answer) == 48);
BYOC_ASSERT(offsetof(byoc_check_artefact_args, reserved) == 52);
#define BYOC_PLUGIN_TABLE_MIN_SIZE 176
BYOC_ASSERT(sizeof(byoc_plugin_table) == 176);
BYOC_ASSERT(offsetof(byoc_plugin_table, head) == 0);
BYOC_ASSERT(offsetof(byoc_plugin_table, name) == 16);
BYOC_ASSERT(offsetof(byoc_plugin_table, version) == 32);
BYOC_ASSERT(offsetof(byoc_plugin_table, pattern_table) == 48);
BYOC_ASSERT(offsetof(byoc_plugin_table, options) == 64);
BYOC_ASSERT(offsetof(byoc_plugin_table, options_len) == 72);
BYOC_ASSERT(offsetof(byoc_plugin_table, thread_policy) == 80);
BYOC_ASSERT(offsetof(byoc_plugin_table, own_threads) == 84);
BYOC_ASSERT(offsetof(byoc_plugin_table, optional_features) == 88);
BYOC_ASSERT(offsetof(byoc_plugin_table, required_features) == 96);
BYOC_ASSERT(offsetof(byoc_plugin_table, open) == 104);
BYOC_ASSERT(offsetof(byoc_plugin_table, close) == 112);
BYOC_ASSERT(offsetof(byoc_plugin_table, devices) == 120);
BYOC_ASSERT(offsetof(byoc_plugin_table, check_match) == 128);
BYOC_ASSERT(offsetof(byoc_plugin_table, check_region) == 136);
BYOC_ASSERT(offsetof(byoc_plugin_table, compile) == 144);
BYOC_ASSERT(offsetof(byoc_plugin_table, load) == 152);
BYOC_ASSERT(offsetof(byoc_plugin_table, check_artefact) == 160);
BYOC_ASSERT(offsetof(byoc_plugin_table, get_extension) == 168);
#define BYOC_ENTRY_ARGS_MIN_SIZE 48
BYOC_ASSERT(sizeof(byoc_entry_args) == 48);
BYOC_ASSERT(offsetof(byoc_entry_args, head) == 0);
BYOC_ASSERT(offsetof(byoc_entry_args, epoch) == 16);
BYOC_ASSERT(offsetof(byoc_entry_args, minor) == 20);
BYOC_ASSERT(offsetof(byoc_entry_args, host) == 24);
BYOC_ASSERT(offsetof(byoc_entry_args, plugin) == 32);
BYOC_ASSERT(offsetof(byoc_entry_args, agreed_minor) == 40);
BYOC_ASSERT(offsetof(byoc_entry_args, plugin_epoch) == 44);

#ifdef __cplusplus
}
#endif

#endif
