// A BYOC plugin as a C++ class: with options, devices, checks and artefacts, which byoc.hpp alone does not have.
//
//     class my_npu {
//     public:
//         static constexpr byoc::option options[] = {{BYOC_OPTION_INT, "cores", "4", "how many cores to use"}};
//         explicit my_npu(const byoc::options &set) : cores_(set.whole("cores")) {}
//         std::unique_ptr<byoc::executable> compile(const byoc::region &region, byoc::compile_context &context);
//     };
//     BYOC_CPP_PLUGIN_CLASS("my-npu", "1.0.0", TABLE, my_npu);
//
// The host may open a plugin several times: each has an object of its own. Whatever else of these the class has is
// offered; what it lacks has the default that byoc_abi.h says:
//
//     static constexpr byoc::option options[];
//     static constexpr bool concurrent = true;               calls from several threads at once are welcome
//     static constexpr std::uint32_t own_threads = 4;        it computes on threads of its own
//     std::vector<byoc::device> devices();                   asked once, when it is opened
//     void check_match(const byoc::region &match);           throws error::unsupported for what it does not take
//     byoc::cost check_region(const byoc::region &region, byoc::refusals &refuse);
//     std::unique_ptr<byoc::executable> load(byoc::span<const std::uint8_t> artefact, byoc::load_context &context);
//     std::uint32_t check_artefact(byoc_device_id device, std::string_view compatibility);       BYOC_ARTEFACT_*
//     static void setup(byoc_sdk &sdk);                      sets what C++ has no word for, behind all of the above
//
// With `load`, executables that are byoc::storable can be saved.
//
// SPDX-License-Identifier: Apache-2.0 OR MIT
#ifndef BYOC_CLASS_HPP
#define BYOC_CLASS_HPP

#include <cstring>
#include <locale>
#include <sstream>
#include <type_traits>

#include "byoc.hpp"

namespace byoc {
inline namespace epoch1 {

// An option that the plugin has; the texts are literals.
struct option {
    std::uint32_t kind; // BYOC_OPTION_*
    const char *name, *default_value, *help;
};

// The values of all options.
class options {
public:
    options(const byoc_pair *pairs, std::uint64_t len) : pairs_(pairs, static_cast<std::size_t>(len)) {}

    std::string_view text(std::string_view name) const {
        for (const byoc_pair &pair : pairs_) {
            if (view(pair.key) == name) {
                return view(pair.value);
            }
        }
        throw error::invalid("there is no option `" + std::string(name) + "`");
    }

    std::int64_t whole(std::string_view name) const { return parsed<std::int64_t>(name); }
    double number(std::string_view name) const { return parsed<double>(name); }
    bool flag(std::string_view name) const { return text(name) == "true"; }

private:
    template <typename T>
    T parsed(std::string_view name) const {
        std::istringstream from{std::string(text(name))};
        from.imbue(std::locale::classic());
        T value;
        if (!(from >> value) || from.peek() != std::istringstream::traits_type::eof()) {
            throw error::invalid("option `" + std::string(name) + "` is out of range: " + from.str());
        }
        return value;
    }

    span<const byoc_pair> pairs_;
};

// A device that the plugin computes on; without a table, in host memory.
struct device {
    byoc_device_id id;
    std::string name;
    std::uint64_t memory_bytes = 0;
    const byoc_device_table *table = nullptr;
    void *handle = nullptr; // what the table's functions get
};

// What a region would cost, in µs; below 0 where it is not known.
struct cost {
    double fixed_us = -1, compute_us = -1;
};

// Refuses nodes of a region that is being checked.
class refusals {
public:
    explicit refusals(const byoc_check_region_args &args) : args_(args) {}

    byoc_device_id device() const { return args_.device; }

    void refuse(std::uint64_t node, const std::string &reason) {
        byoc_refuse_node_args refused;
        BYOC_INIT(refused);
        refused.call = args_.call;
        refused.node = node;
        refused.reason = byoc_text(reason.c_str());
        check(byoc_the_sdk.host.refuse_node(&refused));
    }

private:
    const byoc_check_region_args &args_;
};

// What load gets beside the artefact.
class load_context {
public:
    explicit load_context(const byoc_load_args &args) : args_(args) {}

    byoc_device_id device() const { return args_.device; }
    std::uint64_t constants() const { return args_.constants_len; }

    // A constant by the index that it had in compile; valid until the executable is destroyed.
    span<const std::uint8_t> constant(std::uint64_t index) const {
        byoc_str data{};
        check(byoc_get_constant(args_.constants, index, &data));
        return {data.data, static_cast<std::size_t>(data.len)};
    }

private:
    const byoc_load_args &args_;
};

// An executable that can be saved, and loaded in another process.
class storable : public executable {
public:
    // All that load needs but for the constants of the region, which the host keeps.
    virtual std::vector<std::uint8_t> serialise() const = 0;
    // Names the device and the versions that it was made for; lives as long as the executable.
    virtual std::string_view compatibility() const = 0;
};

// One opened plugin, and its devices as the host reads them.
template <typename Plugin>
struct opened {
    Plugin plugin;
    std::vector<device> devices;
    std::vector<byoc_device_info> infos;
    std::vector<const byoc_device_info *> pointers;

    explicit opened(const options &set) : plugin(set) {}

    void describe() {
        infos.resize(devices.size());
        for (std::size_t index = 0; index < devices.size(); index++) {
            BYOC_INIT(infos[index]);
            infos[index].id = devices[index].id;
            infos[index].name = byoc_text(devices[index].name.c_str());
            infos[index].memory_bytes = devices[index].memory_bytes;
            infos[index].table = devices[index].table;
            infos[index].device = devices[index].handle;
            pointers.push_back(&infos[index]);
        }
    }
};

// Whether a class has a member of some name.
#define BYOC_HAS(NAME)                                                                                                 \
    template <typename Plugin, typename = void>                                                                        \
    struct has_##NAME : std::false_type {};                                                                            \
    template <typename Plugin>                                                                                         \
    struct has_##NAME<Plugin, std::void_t<decltype(&Plugin::NAME)>> : std::true_type {};
BYOC_HAS(options)
BYOC_HAS(concurrent)
BYOC_HAS(own_threads)
BYOC_HAS(devices)
BYOC_HAS(check_match)
BYOC_HAS(check_region)
BYOC_HAS(load)
BYOC_HAS(check_artefact)
BYOC_HAS(setup)
#undef BYOC_HAS

// The functions of the interface, over an object of the class.
template <typename Plugin>
struct trampolines {
    static Plugin &self(void *state) { return static_cast<opened<Plugin> *>(state)->plugin; }

    static void *owned(std::unique_ptr<executable> made, const char *by) {
        if (made == nullptr) {
            throw error(BYOC_ERROR_INTERNAL, std::string(by) + " gave no executable");
        }
        return made.release();
    }

    static byoc_error *open(byoc_open_args *args) {
        return guard([args] {
            auto state = std::make_unique<opened<Plugin>>(options(args->options, args->options_len));
            if constexpr (has_devices<Plugin>::value) {
                state->devices = state->plugin.devices();
                state->describe();
            }
            args->state = state.release();
        });
    }

    static void close(byoc_close_args *args) { delete static_cast<opened<Plugin> *>(args->state); }

    static byoc_error *devices(byoc_devices_args *args) {
        const auto &pointers = static_cast<opened<Plugin> *>(args->state)->pointers;
        args->devices = pointers.data();
        args->devices_len = pointers.size();
        return nullptr;
    }

    static byoc_error *check_match(byoc_check_match_args *args) {
        return guard([args] { self(args->state).check_match(region(args->region, args->constants)); });
    }

    static byoc_error *check_region(byoc_check_region_args *args) {
        return guard([args] {
            refusals refuse(*args);
            const cost found = self(args->state).check_region(region(args->region, args->constants), refuse);
            args->fixed_us = found.fixed_us;
            args->compute_us = found.compute_us;
        });
    }

    static byoc_error *compile(byoc_compile_args *args) {
        return guard([args] {
            compile_context context(*args);
            const region read(args->region, args->constants);
            args->executable = owned(self(args->state).compile(read, context), "compile");
        });
    }

    static byoc_error *load(byoc_load_args *args) {
        return guard([args] {
            load_context context(*args);
            const span<const std::uint8_t> artefact(args->artefact.data, static_cast<std::size_t>(args->artefact.len));
            args->executable = owned(self(args->state).load(artefact, context), "load");
        });
    }

    static byoc_error *check_artefact(byoc_check_artefact_args *args) {
        return guard([args] {
            args->answer = self(args->state).check_artefact(args->device, view(args->compatibility));
        });
    }

    static byoc_error *serialise(byoc_serialise_args *args) {
        return guard([args] {
            const auto *saved = dynamic_cast<const storable *>(static_cast<executable *>(args->executable));
            if (saved == nullptr) {
                throw error::unsupported("this executable cannot be saved");
            }
            const std::vector<std::uint8_t> bytes = saved->serialise();
            byoc_alloc_args memory;
            BYOC_INIT(memory);
            memory.size = bytes.size();
            memory.align = 1;
            check(byoc_the_sdk.host.alloc(&memory));
            if (!bytes.empty()) {
                std::memcpy(memory.data, bytes.data(), bytes.size());
            }
            const std::string_view compatibility = saved->compatibility();
            args->data = memory.data;
            args->len = bytes.size();
            args->compatibility = {reinterpret_cast<const std::uint8_t *>(compatibility.data()), compatibility.size()};
        });
    }
};

// The options of a class as the host reads them; they live as long as the library.
template <typename Plugin>
void declare_options(byoc_plugin_table &table) {
    constexpr std::size_t len = sizeof(Plugin::options) / sizeof(option);
    static byoc_option_decl declared[len];
    static const byoc_option_decl *pointers[len];
    for (std::size_t index = 0; index < len; index++) {
        const option &from = Plugin::options[index];
        BYOC_INIT(declared[index]);
        declared[index].kind = from.kind;
        declared[index].name = byoc_text(from.name);
        declared[index].default_value = byoc_text(from.default_value);
        declared[index].help = byoc_text(from.help);
        pointers[index] = &declared[index];
    }
    table.options = pointers;
    table.options_len = len;
}

template <typename Plugin>
void setup_class(byoc_sdk *sdk) {
    using calls = trampolines<Plugin>;
    byoc_plugin_table &table = sdk->plugin;
    sdk->compile = calls::compile;
    sdk->execute = execute_trampoline;
    sdk->destroy = destroy_trampoline;
    table.open = calls::open;
    table.close = calls::close;
    if constexpr (has_options<Plugin>::value) {
        declare_options<Plugin>(table);
    }
    if constexpr (has_concurrent<Plugin>::value) {
        table.head.flags |= Plugin::concurrent ? BYOC_CONCURRENT : 0;
        sdk->executable.head.flags |= Plugin::concurrent ? BYOC_CONCURRENT : 0;
    }
    if constexpr (has_own_threads<Plugin>::value) {
        table.thread_policy = BYOC_THREADS_OWN;
        table.own_threads = Plugin::own_threads;
    }
    if constexpr (has_devices<Plugin>::value) {
        table.devices = calls::devices;
    }
    if constexpr (has_check_match<Plugin>::value) {
        table.check_match = calls::check_match;
    }
    if constexpr (has_check_region<Plugin>::value) {
        table.check_region = calls::check_region;
    }
    if constexpr (has_load<Plugin>::value) {
        table.load = calls::load;
        sdk->executable.serialise = calls::serialise;
    }
    if constexpr (has_check_artefact<Plugin>::value) {
        table.check_artefact = calls::check_artefact;
    }
    if constexpr (has_setup<Plugin>::value) {
        Plugin::setup(*sdk);
    }
}

} // namespace epoch1
} // namespace byoc

// A plugin that is a class. NAME, VERSION and TABLE are string literals or constexpr arrays of characters.
#define BYOC_CPP_PLUGIN_CLASS(NAME, VERSION, TABLE, CLASS)                                                             \
    static constexpr auto byoc_the_section BYOC_IN_SECTION = byoc::section(NAME, VERSION, TABLE);                      \
    BYOC_ENTRY(byoc::setup_class<CLASS>)

#endif
