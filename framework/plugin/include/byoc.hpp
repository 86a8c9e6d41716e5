// What a vendor needs to write a BYOC plugin in C++17: byoc.h with objects, views and exceptions.
//
// A plugin is a function that compiles a region into an executable, and one line:
//
//     std::unique_ptr<byoc::executable> compile(const byoc::region &region, byoc::compile_context &context);
//     BYOC_CPP_PLUGIN("my-npu", "1.0.0", TABLE, compile);
//
// One with options, devices or artefacts is a class: see byoc_class.hpp.
//
// A byoc::error becomes an error of the host's. Any other exception is reported too, and poisons the plugin.
// Nothing of the standard library crosses the border. Compile with -fvisibility=hidden -fno-gnu-unique.
//
// SPDX-License-Identifier: Apache-2.0 OR MIT
#ifndef BYOC_HPP
#define BYOC_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "byoc.h"

namespace byoc {
inline namespace epoch1 {

static_assert(BYOC_EPOCH == 1, "the namespace is named after the epoch");

// Why a call failed.
class error : public std::exception {
public:
    error(std::uint32_t category, std::string message) : category_(category), message_(std::move(message)) {}

    static error unsupported(std::string message) { return {BYOC_ERROR_UNSUPPORTED, std::move(message)}; }
    static error invalid(std::string message) { return {BYOC_ERROR_INVALID, std::move(message)}; }

    // Names the region's node at fault.
    error at_node(std::uint64_t node) && {
        node_ = node;
        return std::move(*this);
    }

    const char *what() const noexcept override { return message_.c_str(); }
    std::uint32_t category() const noexcept { return category_; }
    std::uint64_t node() const noexcept { return node_; }

private:
    std::uint32_t category_;
    std::uint64_t node_ = BYOC_NONE;
    std::string message_;
};

inline std::string_view view(byoc_str text) {
    return {reinterpret_cast<const char *>(text.data), text.data == nullptr ? 0 : static_cast<std::size_t>(text.len)};
}

// Throws what a function of the host's has returned, where it is an error.
inline void check(byoc_error *failed) {
    if (failed == nullptr) {
        return;
    }
    byoc_error_info_args info;
    BYOC_INIT(info);
    info.error = failed;
    const bool known = byoc_the_sdk.host.error_info(&info) == nullptr;
    error thrown(known ? info.category : BYOC_ERROR_INTERNAL, known ? std::string(view(info.message)) : "unknown");
    byoc_error_drop_args dropped;
    BYOC_INIT(dropped);
    dropped.error = failed;
    byoc_the_sdk.host.error_drop(&dropped);
    throw known ? std::move(thrown).at_node(info.node) : thrown;
}

// Elements that somebody else owns.
template <typename T>
class span {
public:
    span() = default;
    span(T *data, std::size_t size) : data_(data), size_(data == nullptr ? 0 : size) {}

    T *data() const { return data_; }
    std::size_t size() const { return size_; }
    T *begin() const { return data_; }
    T *end() const { return data_ + size_; }
    T &operator[](std::size_t index) const { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

// A value of the region. What it points at dies with the call, but for the content of a constant.
struct value {
    std::string_view name;
    byoc_dtype dtype;
    // No value where not even the rank is known.
    std::optional<span<const byoc_dim>> dims;
    std::optional<std::uint64_t> producer;
    std::optional<span<const std::uint8_t>> constant;
    // By which load finds the constant again.
    std::optional<std::uint64_t> constant_index{};

    bool is_float32() const { return dtype.code == BYOC_DTYPE_FLOAT && dtype.bits == 32; }

    // The number of elements, where the shape is known.
    std::optional<std::uint64_t> elements() const {
        std::uint64_t product = 1;
        if (!dims) {
            return std::nullopt;
        }
        for (const byoc_dim &dim : *dims) {
            const auto size = static_cast<std::uint64_t>(dim.size);
            if (dim.kind != BYOC_DIM_KNOWN || (size != 0 && product > UINT64_MAX / size)) {
                return std::nullopt;
            }
            product *= size;
        }
        return product;
    }

    // The dimensions, where all of them are known.
    std::optional<std::vector<std::int64_t>> shape() const {
        if (!elements()) {
            return std::nullopt;
        }
        std::vector<std::int64_t> sizes;
        for (const byoc_dim &dim : *dims) {
            sizes.push_back(dim.size);
        }
        return sizes;
    }

    // A constant's elements; none where it is no constant.
    template <typename T>
    span<const T> constant_as() const {
        return constant ? span<const T>{reinterpret_cast<const T *>(constant->data()), constant->size() / sizeof(T)}
                        : span<const T>{};
    }
};

struct node {
    std::uint64_t index;
    std::string_view name, op, domain;
    std::int64_t since_version;
    // BYOC_NONE for one that is missing.
    span<const std::uint64_t> inputs, outputs;
    // With the operator's defaults.
    std::vector<byoc_region_attr_args> attributes;

    const byoc_region_attr_args *attribute(std::string_view wanted) const {
        for (const auto &attribute : attributes) {
            if (view(attribute.name) == wanted) {
                return &attribute;
            }
        }
        return nullptr;
    }

    std::optional<std::int64_t> attribute_int(std::string_view wanted) const {
        const auto *found = attribute(wanted);
        return found != nullptr && found->kind == BYOC_ATTR_INT ? std::optional(found->int_value) : std::nullopt;
    }

    // An attribute of `len` whole numbers, `otherwise` each where there is none.
    std::vector<std::int64_t> attribute_ints(std::string_view wanted, std::size_t len, std::int64_t otherwise) const {
        std::vector<std::int64_t> ints(len, otherwise);
        const auto *found = attribute(wanted);
        for (std::size_t index = 0; found != nullptr && index < len && index < found->len; index++) {
            ints[index] = found->kind == BYOC_ATTR_INTS ? found->ints[index] : otherwise;
        }
        return ints;
    }
};

struct composite {
    std::string_view pattern;
    span<const std::uint64_t> nodes;
    span<const byoc_binding> bindings;

    // The value bound to a name of the pattern.
    std::optional<std::uint64_t> binding(std::string_view wanted) const {
        for (const byoc_binding &bound : bindings) {
            if (view(bound.name) == wanted) {
                return bound.value;
            }
        }
        return std::nullopt;
    }
};

// A region, read once from the host. Nodes are in topological order.
struct region {
    std::string_view name;
    std::vector<byoc::node> nodes;
    std::vector<byoc::value> values;
    std::vector<byoc::composite> composites;
    span<const std::uint64_t> inputs, outputs;

    region(const byoc_region *raw, byoc_constants *constants) {
        byoc_region_info_args info;
        check(byoc_info(raw, &info));
        name = view(info.name);
        inputs = {info.inputs.data, static_cast<std::size_t>(info.inputs.len)};
        outputs = {info.outputs.data, static_cast<std::size_t>(info.outputs.len)};
        for (std::uint64_t index = 0; index < info.values; index++) {
            values.push_back(read_value(raw, constants, index));
        }
        for (std::uint64_t index = 0; index < info.nodes; index++) {
            nodes.push_back(read_node(raw, index));
        }
        for (std::uint64_t index = 0; index < info.composites; index++) {
            byoc_region_composite_args args;
            check(byoc_composite(raw, index, &args));
            composites.push_back({view(args.pattern),
                                  {args.nodes.data, static_cast<std::size_t>(args.nodes.len)},
                                  {args.bindings, static_cast<std::size_t>(args.bindings_len)}});
        }
    }

    // The composites in an order in which each finds its operands made: by their last nodes.
    std::vector<const composite *> composites_in_order() const {
        std::vector<const composite *> ordered;
        for (const byoc::composite &one : composites) {
            ordered.push_back(&one);
        }
        const auto last = [](const composite *one) { return one->nodes.size() > 0 ? *(one->nodes.end() - 1) : 0; };
        std::sort(ordered.begin(), ordered.end(), [&](auto *a, auto *b) { return last(a) < last(b); });
        return ordered;
    }

private:
    static byoc::value read_value(const byoc_region *raw, byoc_constants *constants, std::uint64_t index) {
        byoc_region_value_args args;
        check(byoc_value(raw, index, &args));
        byoc::value read{view(args.name), args.dtype, std::nullopt, std::nullopt, std::nullopt, std::nullopt};
        if (args.rank >= 0) {
            read.dims.emplace(args.dims, static_cast<std::size_t>(args.rank));
        }
        if (args.producer != BYOC_NONE) {
            read.producer = args.producer;
        }
        if (args.constant != BYOC_NONE) {
            byoc_str data{};
            check(byoc_get_constant(constants, args.constant, &data));
            read.constant.emplace(data.data, static_cast<std::size_t>(data.len));
            read.constant_index = args.constant;
        }
        return read;
    }

    static byoc::node read_node(const byoc_region *raw, std::uint64_t index) {
        byoc_region_node_args args;
        check(byoc_node(raw, index, &args));
        byoc::node read{index,
                        view(args.name),
                        view(args.op),
                        view(args.domain),
                        args.since_version,
                        {args.inputs.data, static_cast<std::size_t>(args.inputs.len)},
                        {args.outputs.data, static_cast<std::size_t>(args.outputs.len)},
                        {}};
        for (std::uint64_t number = 0; number < args.attributes; number++) {
            byoc_region_attr_args attribute;
            check(byoc_attr(raw, index, number, &attribute));
            read.attributes.push_back(attribute);
        }
        return read;
    }
};

// What compile gets beside the region.
class compile_context {
public:
    explicit compile_context(const byoc_compile_args &args) : args_(args) {}

    byoc_device_id device() const { return args_.device; }
    std::uint32_t threads() const { return args_.threads; }

    // The value of an option; empty where there is none of that name.
    std::string_view option(std::string_view key) const {
        for (std::uint64_t index = 0; index < args_.options_len; index++) {
            if (view(args_.options[index].key) == key) {
                return view(args_.options[index].value);
            }
        }
        return {};
    }

private:
    const byoc_compile_args &args_;
};

// One execution: tensors in the order of the region's inputs and outputs.
class execution {
public:
    explicit execution(const byoc_execute_args &args) : args_(args) {}

    // The elements of a dense tensor in host memory.
    template <typename T>
    span<const T> input(std::size_t index) const {
        return elements<const T>(*args_.inputs[index]);
    }

    template <typename T>
    span<T> output(std::size_t index) const {
        return elements<T>(*args_.outputs[index]);
    }

    const byoc_execute_args &raw() const { return args_; }

    // Calls body(i) for every i below count on the host's threads. What it throws is thrown here, when all are done.
    template <typename Body>
    void parallel_for(std::uint64_t count, const Body &body) const {
        struct job {
            const Body &body;
            std::exception_ptr thrown;
            std::atomic_flag failed = ATOMIC_FLAG_INIT;
        } work{body, nullptr};
        const byoc_loop_body run = [](void *user, std::uint64_t index) noexcept {
            auto &work = *static_cast<job *>(user);
            try {
                work.body(index);
            } catch (...) {
                // The first one is kept; a flag of its own decides, since several threads may get here.
                if (!work.failed.test_and_set()) {
                    work.thrown = std::current_exception();
                }
            }
        };
        check(byoc_parallel_for(args_.call, count, run, &work));
        if (work.thrown) {
            std::rethrow_exception(work.thrown);
        }
    }

private:
    template <typename T>
    static span<T> elements(const byoc_tensor &tensor) {
        if (tensor.device.kind != BYOC_DEVICE_HOST) {
            throw error::invalid("a tensor lies in a device's memory");
        }
        return {static_cast<T *>(byoc_data(&tensor)), static_cast<std::size_t>(tensor.byte_len) / sizeof(T)};
    }

    const byoc_execute_args &args_;
};

// A compiled region.
class executable {
public:
    executable() = default;
    executable(const executable &) = delete;
    executable &operator=(const executable &) = delete;
    virtual ~executable() = default;

    virtual void execute(const execution &call) = 0;
};

using compile_function = std::unique_ptr<executable> (*)(const region &region, compile_context &context);

// Runs a call; what a plugin throws on purpose becomes an error of the host's.
template <typename Body>
byoc_error *guard(const Body &body) {
    try {
        body();
        return nullptr;
    } catch (const error &failed) {
        return byoc_fail_at(failed.category(), failed.node(), 0, failed.what());
    } catch (const std::bad_alloc &) {
        return byoc_fail(BYOC_ERROR_OUT_OF_MEMORY, "out of memory");
    }
}

template <compile_function Compile>
byoc_error *compile_trampoline(byoc_compile_args *args) {
    return guard([args] {
        const region read(args->region, args->constants);
        compile_context context(*args);
        args->executable = Compile(read, context).release();
        if (args->executable == nullptr) {
            throw error(BYOC_ERROR_INTERNAL, "compile gave no executable");
        }
    });
}

inline byoc_error *execute_trampoline(byoc_execute_args *args) {
    return guard([args] { static_cast<executable *>(args->executable)->execute(execution(*args)); });
}

inline void destroy_trampoline(void *self) {
    delete static_cast<executable *>(self);
}

// What the library says of itself to those who do not run it, made at compile time.
template <std::size_t Name, std::size_t Version, std::size_t Table>
struct section {
    std::uint8_t magic[8] = {'B', 'Y', 'O', 'C', 0, 1, '\r', '\n'};
    std::uint32_t epoch = BYOC_EPOCH, minor = BYOC_MINOR;
    std::uint32_t name_len = Name - 1, version_len = Version - 1, table_len = Table - 1, reserved = 0;
    char name[Name] = {}, version[Version] = {}, table[Table] = {};

    constexpr section(const char (&name_text)[Name], const char (&version_text)[Version],
                      const char (&table_text)[Table]) {
        copy(name, name_text);
        copy(version, version_text);
        copy(table, table_text);
    }

private:
    template <std::size_t Size>
    static constexpr void copy(char (&to)[Size], const char (&from)[Size]) {
        for (std::size_t index = 0; index < Size; index++) {
            to[index] = from[index];
        }
    }
};

template <compile_function Compile>
void setup(byoc_sdk *sdk) {
    sdk->compile = compile_trampoline<Compile>;
    sdk->execute = execute_trampoline;
    sdk->destroy = destroy_trampoline;
}

} // namespace epoch1
} // namespace byoc

// A plugin of one function. NAME, VERSION and TABLE are string literals or constexpr arrays of characters.
#define BYOC_CPP_PLUGIN(NAME, VERSION, TABLE, COMPILE)                                                                 \
    static constexpr auto byoc_the_section BYOC_IN_SECTION = byoc::section(NAME, VERSION, TABLE);                      \
    BYOC_ENTRY(byoc::setup<COMPILE>)

#endif
