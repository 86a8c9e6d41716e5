// A plugin in C++: Add, Mul and Relu of float32 tensors of one shape.
#include <byoc.hpp>

#include <algorithm>

namespace {

struct step {
    std::string op;
    std::uint64_t left, right, result;
};

class program final : public byoc::executable {
public:
    explicit program(const byoc::region &region)
        : elements_(region.values.at(0).elements().value_or(0)), constants_(region.values.size()),
          inputs_(region.inputs.begin(), region.inputs.end()), outputs_(region.outputs.begin(), region.outputs.end()) {
        for (std::size_t index = 0; index < region.values.size(); index++) {
            const byoc::value &value = region.values[index];
            if (!value.is_float32() || value.elements() != elements_) {
                throw byoc::error::unsupported("only float32 tensors of one known shape");
            }
            if (value.constant) {
                const auto *data = reinterpret_cast<const float *>(value.constant->data());
                constants_[index] = {data, value.constant->size() / sizeof(float)};
            }
        }
        for (const byoc::node &node : region.nodes) {
            const std::size_t arity = node.op == "Relu" ? 1 : node.op == "Add" || node.op == "Mul" ? 2 : 0;
            if (arity == 0 || node.inputs.size() != arity || node.outputs.size() != 1) {
                throw byoc::error::unsupported("only Add, Mul and Relu").at_node(node.index);
            }
            steps_.push_back({std::string(node.op), node.inputs[0], node.inputs[arity - 1], node.outputs[0]});
        }
    }

    void execute(const byoc::execution &call) override {
        auto values = constants_;
        for (std::size_t index = 0; index < inputs_.size(); index++) {
            values.at(inputs_[index]) = call.input<float>(index);
        }
        std::vector<std::vector<float>> results;
        for (const step &now : steps_) {
            const auto left = values.at(now.left), right = values.at(now.right);
            std::vector<float> result(elements_);
            call.parallel_for(elements_, [&](std::uint64_t i) {
                result[i] = now.op == "Add"   ? left[i] + right[i]
                            : now.op == "Mul" ? left[i] * right[i]
                                              : std::max(left[i], 0.0f);
            });
            values.at(now.result) = {result.data(), result.size()};
            results.push_back(std::move(result));
        }
        for (std::size_t index = 0; index < outputs_.size(); index++) {
            const auto from = values.at(outputs_[index]);
            std::copy(from.begin(), from.end(), call.output<float>(index).begin());
        }
    }

private:
    std::uint64_t elements_;
    // By value; empty where it is none.
    std::vector<byoc::span<const float>> constants_;
    std::vector<std::uint64_t> inputs_, outputs_;
    std::vector<step> steps_;
};

std::unique_ptr<byoc::executable> compile(const byoc::region &region, byoc::compile_context &) {
    return std::make_unique<program>(region);
}

constexpr char TABLE[] = R"toml([vendor]
name = "cpp-elementwise"
static_shapes = true

[[pattern]]
name = "binary"
match = "y = Add|Mul(a, b)"
where = ["y.dtype == 'float32'", "a.shape == b.shape"]

[[pattern]]
name = "relu"
match = "y = Relu(x)"
where = ["y.dtype == 'float32'"]
)toml";

} // namespace

BYOC_CPP_PLUGIN("cpp-elementwise", "0.1.0", TABLE, compile);
