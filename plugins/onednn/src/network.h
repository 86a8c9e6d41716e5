// A region as primitives of oneDNN for one set of shapes.
//
// Values have a memory descriptor: the layout in which they lie at the moment. Primitives that gain from a layout of
// their own choose it and hand it on; a reorder is inserted where the next one cannot take it, and at the border.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dnnl.hpp>

#include "rust/cxx.h"

namespace byoc::onednn {

enum class Algorithm : std::uint8_t;
enum class Type : std::uint8_t;
struct Op;

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Element = dnnl::memory::data_type;

// A dense tensor as ONNX lays it out.
Desc plain(const Dims& dims, Element type = Element::f32);
// The same, in a layout of oneDNN's choice.
Desc any(const Dims& dims, Element type = Element::f32);

// What primitives compute with beside their operands lies in the network's memory: oneDNN's own is a thread's, and a
// network may be made by one thread and run by another.
dnnl::primitive_attr own_scratch();

// Constants, each once in each layout that a primitive has asked for.
class Weights {
public:
    // The constant `value` as `wanted`; `data` is `plain`, and needed only the first time.
    dnnl::memory get(std::size_t value, const Desc& plain, const Desc& wanted, const void* data);
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};

private:
    std::mutex mutex_;
    std::vector<std::pair<std::pair<std::size_t, Desc>, dnnl::memory>> packed_;
};

class Network {
public:
    Network(std::shared_ptr<Weights> weights, int threads) : weights_(std::move(weights)), threads_(threads) {}

    void input(std::size_t value, rust::Slice<const std::int64_t> dims, Type type);
    void constant(
        std::size_t value, rust::Slice<const std::int64_t> dims, Type type, rust::Slice<const std::uint8_t> data);
    void op(const Op& op);
    void finish(rust::Slice<const std::size_t> outputs);
    void run(rust::Slice<const std::size_t> inputs, rust::Slice<const std::size_t> outputs);

private:
    static constexpr std::size_t none = SIZE_MAX;

    // Memory that a step reads or writes. Views share the memory of their root.
    struct Slot {
        dnnl::memory memory;
        std::size_t root;
        std::size_t first = none, last = none;  // steps
        std::size_t input = none, output = none;
        bool constant = false;
        std::size_t offset = 0;
    };
    struct Value {
        std::size_t slot = none;  // none for a constant
        Dims dims;
        Element type = Element::f32;
        const void* data = nullptr;
    };
    struct Step {
        dnnl::primitive primitive;
        std::unordered_map<int, dnnl::memory> arguments;
    };
    using Argument = std::pair<int, std::size_t>;  // of a primitive, and its slot

    // primitives.cc: one function a family.
    template <class Primitive>
    void window(const Op& op, dnnl::algorithm kind, const Desc& given, const Dims& kernel);
    void convolution(const Op& op), deconvolution(const Op& op), product(const Op& op), pooling(const Op& op);
    void softmax(const Op& op), layer_norm(const Op& op), batch_norm(const Op& op), lrn(const Op& op);
    void concat(const Op& op), eltwise(const Op& op), binary(const Op& op), prelu(const Op& op);
    void reduction(const Op& op), resampling(const Op& op), view(const Op& op), transpose(const Op& op);
    void part(const Op& op), dequantise(const Op& op);
    // The step that makes an operator's result, of the layout `lies`.
    void make(const Op& op, const dnnl::primitive& primitive, const Desc& lies, std::vector<Argument> args);

    // Post-ops, with the operands that binary ones have, as if the result had the shape `dims`.
    dnnl::primitive_attr attributes(const Op& op, const Dims& dims);
    void operands(const Op& op, const Dims& dims, const dnnl::primitive_desc_base& chosen, std::vector<Argument>& args);

    // Has the primitive subtract the operator's zero point from its first operand.
    void zero(const Op& op, std::vector<Argument>& args);

    Value& at(std::size_t value);
    Desc plain_of(std::size_t value) { return plain(at(value).dims, at(value).type); }
    bool is_constant(std::size_t value) { return at(value).slot == none; }
    // A slot that holds the value in its present layout, a constant in the plain one.
    std::size_t slot(std::size_t value);
    // A slot that holds the value as `wanted`; reorders where it lies otherwise.
    std::size_t as(std::size_t value, const Desc& wanted);
    // A slot with the value in the plain layout of other dimensions.
    std::size_t reshaped(std::size_t value, const Dims& dims);
    Desc desc(std::size_t slot) const { return slots_[slot].memory.get_desc(); }
    std::size_t new_slot(const Desc& desc, std::size_t root = none);
    // Weights as a primitive wants them: packed once where they are constant, else at every run. `given` is how the
    // value lies where it is plain, under the dimensions of the primitive.
    std::size_t packed(std::size_t value, const Desc& given, const Desc& wanted);
    std::size_t constant_slot(std::size_t value, const Desc& plain, const Desc& wanted);
    std::size_t reordered(std::size_t from, const Desc& wanted);
    void set(std::size_t value, std::size_t slot, const Dims& dims);
    void step(const dnnl::primitive& primitive, std::vector<Argument> arguments);
    dnnl::primitive reorder(std::size_t from, std::size_t into) const;
    void place();

    std::shared_ptr<Weights> weights_;
    int threads_;
    std::vector<Value> values_;
    std::vector<Slot> slots_;
    std::vector<Step> steps_;
    std::vector<std::size_t> inputs_, outputs_;  // slots
    std::vector<std::pair<std::size_t, std::size_t>> copies_;  // slots, and each one's in another layout
    dnnl::stream stream_;
    std::unique_ptr<char, void (*)(void*)> arena_{nullptr, std::free};
};

dnnl::algorithm algorithm(Algorithm algorithm);
Element element(Type type);

rust::String identity();
bool sums_are_exact();

std::shared_ptr<Weights> new_weights();
std::unique_ptr<Network> new_network(std::shared_ptr<Weights> weights, std::int32_t threads);

}  // namespace byoc::onednn
