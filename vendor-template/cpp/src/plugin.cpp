// A BYOC plugin for acme-npu. The framework finds the parts of a model that TABLE describes and gives each to `compile`
// as a region; what that makes of it runs in its place. The host makes one call at a time.
#include <byoc.hpp>

#include "kernels.hpp"
#include "table.hpp"

namespace acme_npu {
namespace {

using floats = byoc::span<const float>;

// An instruction of the device, for one composite of the region.
struct instruction {
    enum { conv_relu, matmul_add, add } kernel;
    std::vector<std::uint64_t> operands; // values of the region; the last one may be missing
    std::uint64_t result;
    conv_shape conv;
    std::vector<dims> shapes; // of the operands
};

dims shape_of(const byoc::region &region, std::uint64_t value) {
    if (auto shape = region.values.at(value).shape()) {
        return *shape;
    }
    throw byoc::error::unsupported("only shapes that are known");
}

// Code generation: what a composite becomes.
instruction generate(const byoc::region &region, const byoc::composite &composite) {
    const bool is_conv = composite.pattern == "conv_relu";
    const auto kernel = is_conv                             ? instruction::conv_relu
                        : composite.pattern == "matmul_add" ? instruction::matmul_add
                                                            : instruction::add;
    instruction made{kernel, {}, composite.binding("y").value(), {}, {}};
    for (const char *name : {is_conv ? "x" : "a", is_conv ? "w" : "b", is_conv ? "b" : "c"}) {
        if (const auto value = composite.binding(name)) {
            made.operands.push_back(*value);
            made.shapes.push_back(shape_of(region, *value));
        }
    }
    if (is_conv) {
        const byoc::node &node = region.nodes.at(composite.nodes[0]);
        made.conv = {made.shapes[0],
                     made.shapes[1],
                     shape_of(region, made.result),
                     node.attribute_ints("strides", 2, 1),
                     node.attribute_ints("dilations", 2, 1),
                     node.attribute_ints("pads", 2, 0)};
    }
    return made;
}

class program final : public byoc::executable {
public:
    explicit program(const byoc::region &region)
        : inputs_(region.inputs.begin(), region.inputs.end()), outputs_(region.outputs.begin(), region.outputs.end()) {
        for (const byoc::value &value : region.values) {
            values_.push_back(value.constant_as<float>());
        }
        results_.resize(values_.size());
        for (const byoc::composite *composite : region.composites_in_order()) {
            instructions_.push_back(generate(region, *composite));
            const std::uint64_t result = instructions_.back().result;
            results_[result].resize(region.values[result].elements().value());
            values_[result] = {results_[result].data(), results_[result].size()};
        }
    }

    void execute(const byoc::execution &call) override {
        for (std::size_t index = 0; index < inputs_.size(); index++) {
            values_[inputs_[index]] = call.input<float>(index);
        }
        for (const instruction &now : instructions_) {
            const floats a = values_[now.operands[0]], b = values_[now.operands[1]];
            const floats c = now.operands.size() > 2 ? values_[now.operands[2]] : floats();
            float *y = results_[now.result].data();
            switch (now.kernel) {
            case instruction::conv_relu: conv_relu(now.conv, a.data(), b.data(), c.data(), y); break;
            case instruction::add: add(a.size(), a.data(), b.data(), y); break;
            case instruction::matmul_add:
                matmul_add(now.shapes[0], now.shapes[1], c.size(), a.data(), b.data(), c.data(), y);
            }
        }
        for (std::size_t index = 0; index < outputs_.size(); index++) {
            const floats from = values_[outputs_[index]];
            std::copy(from.begin(), from.end(), call.output<float>(index).begin());
        }
    }

private:
    std::vector<std::uint64_t> inputs_, outputs_;
    std::vector<instruction> instructions_;
    // By value of the region: what holds its elements, and memory of our own for results.
    std::vector<floats> values_;
    std::vector<std::vector<float>> results_;
};

std::unique_ptr<byoc::executable> compile(const byoc::region &region, byoc::compile_context &) {
    return std::make_unique<program>(region);
}

} // namespace
} // namespace acme_npu

BYOC_CPP_PLUGIN("acme-npu", "0.1.0", TABLE, acme_npu::compile);
