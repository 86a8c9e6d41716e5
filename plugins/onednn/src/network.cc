// Values, layouts and memory of a network; primitives.cc makes the primitives.
#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "byoc-onednn/src/bridge.rs.h"
#include "byoc-onednn/src/network.h"

// Of the OpenMP runtime that oneDNN computes on.
extern "C" void omp_set_num_threads(int);

namespace byoc::onednn {

Element element(Type type) {
    static constexpr Element names[] = {Element::f32, Element::s8, Element::u8};
    return names[static_cast<std::size_t>(type)];
}

rust::String identity() {
    return std::string(dnnl_version()->hash) + " isa " + std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
}

bool sums_are_exact() {
    auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    auto has = [&](dnnl::cpu_isa of) { return (isa & static_cast<unsigned>(of)) == static_cast<unsigned>(of); };
    return has(dnnl::cpu_isa::avx512_core_vnni) || has(dnnl::cpu_isa::avx2_vnni);
}

Desc plain(const Dims& dims, Element type) {
    using Tag = dnnl::memory::format_tag;
    constexpr Tag tags[] = {Tag::a, Tag::a, Tag::ab, Tag::abc, Tag::abcd, Tag::abcde, Tag::abcdef};
    if (dims.size() >= std::size(tags)) throw std::invalid_argument("more than six dimensions");
    // oneDNN knows no scalars.
    return Desc(dims.empty() ? Dims{1} : dims, type, tags[dims.size()]);
}

Desc any(const Dims& dims, Element type) { return Desc(dims, type, dnnl::memory::format_tag::any); }

dnnl::primitive_attr own_scratch() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
}

dnnl::memory Weights::get(std::size_t value, const Desc& plain, const Desc& wanted, const void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [key, memory] : packed_) {
        if (key.first == value && key.second == wanted) return memory;
    }
    if (data == nullptr) throw std::logic_error("a constant is needed that was given back");
    dnnl::memory from(plain, engine, const_cast<void*>(data)), into(wanted, engine);
    dnnl::stream stream(engine);
    dnnl::reorder(from, into).execute(stream, from, into);
    stream.wait();
    packed_.push_back({{value, wanted}, into});
    return into;
}

std::shared_ptr<Weights> new_weights() { return std::make_shared<Weights>(); }

std::unique_ptr<Network> new_network(std::shared_ptr<Weights> weights, std::int32_t threads) {
    // Primitives are made for as many threads as there are when they are made.
    omp_set_num_threads(threads);
    return std::make_unique<Network>(std::move(weights), threads);
}

Network::Value& Network::at(std::size_t value) {
    if (value >= values_.size()) values_.resize(value + 1);
    return values_[value];
}

std::size_t Network::new_slot(const Desc& desc, std::size_t root) {
    dnnl::memory memory(desc, weights_->engine, DNNL_MEMORY_NONE);
    slots_.push_back({memory, root == none ? slots_.size() : slots_[root].root});
    return slots_.size() - 1;
}

void Network::set(std::size_t value, std::size_t slot, const Dims& dims) {
    at(value) = {slot, dims, desc(slot).get_data_type(), nullptr};
}

void Network::input(std::size_t value, rust::Slice<const std::int64_t> dims, Type type) {
    Dims shape(dims.begin(), dims.end());
    std::size_t slot = new_slot(plain(shape, element(type)));
    slots_[slot].input = inputs_.size();
    inputs_.push_back(slot);
    set(value, slot, shape);
}

void Network::constant(
    std::size_t value, rust::Slice<const std::int64_t> dims, Type type, rust::Slice<const std::uint8_t> data) {
    at(value) = {none, Dims(dims.begin(), dims.end()), element(type), data.empty() ? nullptr : data.data()};
}

std::size_t Network::constant_slot(std::size_t value, const Desc& plain, const Desc& wanted) {
    dnnl::memory memory = weights_->get(value, plain, wanted, at(value).data);
    slots_.push_back({memory, slots_.size()});
    slots_.back().constant = true;
    return slots_.size() - 1;
}

std::size_t Network::packed(std::size_t value, const Desc& given, const Desc& wanted) {
    if (is_constant(value)) return constant_slot(value, given, wanted);
    return reordered(new_slot(given, reordered(at(value).slot, plain_of(value))), wanted);
}

std::size_t Network::slot(std::size_t value) {
    if (!is_constant(value)) return at(value).slot;
    Desc desc = plain_of(value);
    return constant_slot(value, desc, desc);
}

dnnl::primitive Network::reorder(std::size_t from, std::size_t into) const {
    return dnnl::reorder(dnnl::reorder::primitive_desc(slots_[from].memory, slots_[into].memory, own_scratch()));
}

std::size_t Network::reordered(std::size_t from, const Desc& wanted) {
    if (desc(from) == wanted) {
        // Along a dimension of one element strides may differ, which some primitives take seriously.
        return desc(from).get_strides() == wanted.get_strides() ? from : new_slot(wanted, from);
    }
    // Whoever else wants it so reads what the first has made.
    for (auto [slot, copy] : copies_) if (slot == from && desc(copy) == wanted) return reordered(copy, wanted);
    std::size_t into = new_slot(wanted);
    step(reorder(from, into), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, into}});
    copies_.push_back({from, into});
    return into;
}

std::size_t Network::as(std::size_t value, const Desc& wanted) {
    if (is_constant(value)) return constant_slot(value, plain_of(value), wanted);
    return reordered(at(value).slot, wanted);
}

std::size_t Network::reshaped(std::size_t value, const Dims& dims) {
    Desc wanted = plain(dims, at(value).type);
    if (is_constant(value)) return constant_slot(value, wanted, wanted);
    std::size_t from = reordered(at(value).slot, plain_of(value));
    return desc(from) == wanted ? from : new_slot(wanted, from);
}

void Network::step(const dnnl::primitive& primitive, std::vector<Argument> arguments) {
    Step step{primitive, {}};
    const_dnnl_primitive_desc_t chosen = nullptr;
    if (dnnl_primitive_get_primitive_desc(primitive.get(), &chosen) == dnnl_success) {
        const_dnnl_memory_desc_t scratch = dnnl_primitive_desc_query_md(chosen, dnnl_query_scratchpad_md, 0);
        dnnl_memory_desc_t copy = nullptr;
        if (scratch != nullptr && dnnl_memory_desc_get_size(scratch) > 0) {
            dnnl::error::wrap_c_api(dnnl_memory_desc_clone(&copy, scratch), "no memory for a descriptor");
            arguments.push_back({DNNL_ARG_SCRATCHPAD, new_slot(Desc(copy))});
        }
    }
    for (auto [argument, slot] : arguments) {
        step.arguments.emplace(argument, slots_[slot].memory);
        Slot& root = slots_[slots_[slot].root];
        if (root.first == none) root.first = steps_.size();
        root.last = steps_.size();
    }
    steps_.push_back(std::move(step));
}

void Network::finish(rust::Slice<const std::size_t> outputs) {
    for (std::size_t value : outputs) {
        std::size_t slot = reordered(this->slot(value), plain_of(value));
        const Slot& root = slots_[slots_[slot].root];
        bool own = !root.constant && root.input == none && root.output == none;
        if (!own) {
            std::size_t copy = new_slot(plain_of(value));
            step(reorder(slot, copy), {{DNNL_ARG_FROM, slot}, {DNNL_ARG_TO, copy}});
            slot = copy;
        }
        slots_[slots_[slot].root].output = outputs_.size();
        outputs_.push_back(slot);
    }
    place();
    stream_ = dnnl::stream(weights_->engine);
    values_.clear();
}

// Gives what lives inside a place in one block, the largest first, beside all whose lives overlap its own.
void Network::place() {
    constexpr std::size_t alignment = 64;
    std::vector<std::size_t> inner, placed;
    for (std::size_t i = 0; i < slots_.size(); i++) {
        const Slot& slot = slots_[i];
        if (slot.root == i && !slot.constant && slot.input == none && slot.output == none && slot.first != none) {
            inner.push_back(i);
        }
    }
    auto size = [&](std::size_t i) { return (desc(i).get_size() + alignment - 1) / alignment * alignment; };
    std::stable_sort(inner.begin(), inner.end(), [&](auto a, auto b) { return size(a) > size(b); });
    std::size_t total = alignment;
    for (std::size_t i : inner) {
        std::vector<std::pair<std::size_t, std::size_t>> taken;
        for (std::size_t other : placed) {
            bool apart = slots_[other].last < slots_[i].first || slots_[i].last < slots_[other].first;
            if (!apart) taken.push_back({slots_[other].offset, slots_[other].offset + size(other)});
        }
        std::sort(taken.begin(), taken.end());
        std::size_t offset = 0;
        for (auto [begin, end] : taken) {
            if (offset + size(i) <= begin) break;
            offset = std::max(offset, end);
        }
        slots_[i].offset = offset;
        placed.push_back(i);
        total = std::max(total, offset + size(i));
    }
    arena_.reset(static_cast<char*>(std::aligned_alloc(alignment, total)));
    if (!arena_) throw std::bad_alloc();
    for (Slot& slot : slots_) {
        const Slot& root = slots_[slot.root];
        bool outside = root.constant || root.input != none || root.output != none;
        if (!outside) slot.memory.set_data_handle(arena_.get() + root.offset);
        if (root.constant && &root != &slot) slot.memory.set_data_handle(root.memory.get_data_handle());
    }
}

void Network::run(rust::Slice<const std::size_t> inputs, rust::Slice<const std::size_t> outputs) {
    if (inputs.size() != inputs_.size() || outputs.size() != outputs_.size()) {
        throw std::invalid_argument("wrong number of inputs or outputs");
    }
    for (Slot& slot : slots_) {
        const Slot& root = slots_[slot.root];
        if (root.input != none) slot.memory.set_data_handle(reinterpret_cast<void*>(inputs[root.input]));
        if (root.output != none) slot.memory.set_data_handle(reinterpret_cast<void*>(outputs[root.output]));
    }
    omp_set_num_threads(threads_);
    for (const Step& step : steps_) step.primitive.execute(stream_, step.arguments);
    stream_.wait();
}

}  // namespace byoc::onednn
