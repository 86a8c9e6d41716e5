// A plugin that is a C++ class: Add, Mul and Relu of float32 tensors of one shape, with options, two devices, checks
// and artefacts.
#include <byoc_class.hpp>

#include <algorithm>

namespace {


constexpr std::string_view OPS[] = {"Add", "Mul", "Relu"};
constexpr std::string_view COMPATIBLE = "cpp-class 1";

// Numbers one after the other, as an artefact keeps them.
class writer {
public:
    void put(std::uint64_t number) {
        for (int byte = 0; byte < 8; byte++) {
            bytes_.push_back(static_cast<std::uint8_t>(number >> (8 * byte)));
        }
    }
    void put(const std::vector<std::uint64_t> &numbers) {
        put(numbers.size());
        for (const std::uint64_t number : numbers) {
            put(number);
        }
    }
    std::vector<std::uint8_t> done() { return std::move(bytes_); }

private:
    std::vector<std::uint8_t> bytes_;
};

// Reads what the writer wrote; what it is given may be anything.
class reader {
public:
    explicit reader(byoc::span<const std::uint8_t> bytes) : left_(bytes) {}

    std::uint64_t number() {
        if (left_.size() < 8) {
            throw byoc::error::invalid("the artefact is cut short");
        }
        std::uint64_t number = 0;
        for (int byte = 0; byte < 8; byte++) {
            number |= std::uint64_t{left_[byte]} << (8 * byte);
        }
        left_ = {left_.data() + 8, left_.size() - 8};
        return number;
    }
    std::vector<std::uint64_t> numbers() {
        std::vector<std::uint64_t> read;
        for (std::uint64_t count = number(); count > 0; count--) {
            read.push_back(number());
        }
        return read;
    }
    bool is_done() const { return left_.size() == 0; }

private:
    byoc::span<const std::uint8_t> left_;
};

// What is executed: steps over numbered values, of which some are constants.
struct code {
    std::uint64_t elements = 0, values = 0;
    // Of each constant the value that it is; of each step its operator in OPS, two operands and the result.
    std::vector<std::uint64_t> inputs, outputs, constants, steps;

    std::vector<std::uint8_t> write() const {
        writer to;
        to.put(elements);
        to.put(values);
        for (const auto *list : {&inputs, &outputs, &constants, &steps}) {
            to.put(*list);
        }
        return to.done();
    }

    static code read(byoc::span<const std::uint8_t> artefact) {
        reader from(artefact);
        code found;
        found.elements = from.number();
        found.values = from.number();
        for (auto *list : {&found.inputs, &found.outputs, &found.constants, &found.steps}) {
            *list = from.numbers();
        }
        bool sound = from.is_done() && found.steps.size() % 4 == 0 && found.values <= artefact.size();
        for (const auto *list : {&found.inputs, &found.outputs, &found.constants}) {
            sound = sound && std::all_of(list->begin(), list->end(), [&](auto value) { return value < found.values; });
        }
        for (std::size_t at = 0; at < found.steps.size(); at++) {
            sound = sound && found.steps[at] < (at % 4 == 0 ? std::size(OPS) : found.values);
        }
        if (!sound) {
            throw byoc::error::invalid("the artefact is damaged");
        }
        return found;
    }
};

class program final : public byoc::storable {
public:
    // With the content of the region's constants, by their numbers.
    program(code from, const std::vector<byoc::span<const float>> &constants)
        : code_(std::move(from)), values_(code_.values) {
        for (std::size_t index = 0; index < constants.size(); index++) {
            if (constants[index].size() != code_.elements) {
                throw byoc::error::invalid("a constant of another size");
            }
            values_.at(code_.constants.at(index)) = constants[index];
        }
    }

    void execute(const byoc::execution &call) override {
        auto values = values_;
        for (std::size_t index = 0; index < code_.inputs.size(); index++) {
            values.at(code_.inputs[index]) = call.input<float>(index);
        }
        std::vector<std::vector<float>> results;
        for (std::size_t at = 0; at < code_.steps.size(); at += 4) {
            const std::uint64_t *now = &code_.steps[at];
            const auto left = values.at(now[1]), right = values.at(now[2]);
            if (left.size() != code_.elements || right.size() != code_.elements) {
                throw byoc::error::invalid("an operand that is not made yet");
            }
            std::vector<float> result(code_.elements);
            for (std::size_t i = 0; i < result.size(); i++) {
                result[i] = now[0] == 0   ? left[i] + right[i]
                            : now[0] == 1 ? left[i] * right[i]
                                          : std::max(left[i], 0.0f);
            }
            results.push_back(std::move(result));
            values.at(now[3]) = {results.back().data(), results.back().size()};
        }
        for (std::size_t index = 0; index < code_.outputs.size(); index++) {
            const auto from = values.at(code_.outputs[index]);
            std::copy(from.begin(), from.end(), call.output<float>(index).begin());
        }
    }

    std::vector<std::uint8_t> serialise() const override { return code_.write(); }
    std::string_view compatibility() const override { return COMPATIBLE; }

private:
    code code_;
    // Empty where it is no constant.
    std::vector<byoc::span<const float>> values_;
};

class chip {
public:
    static constexpr byoc::option options[] = {
        {BYOC_OPTION_INT, "most", "4611686018427387904", "the most elements of a tensor"},
        {BYOC_OPTION_FLOAT, "rate", "2.5e3", "elements in a microsecond"},
        {BYOC_OPTION_BOOL, "relu", "true", "whether it has a Relu"},
        {BYOC_OPTION_STRING, "label", "chip", "what its devices are called"},
    };
    static constexpr bool concurrent = true;

    explicit chip(const byoc::options &set)
        : most_(static_cast<std::uint64_t>(set.whole("most"))), rate_(set.number("rate")), relu_(set.flag("relu")),
          label_(set.text("label")) {
        if (rate_ <= 0) {
            throw byoc::error::invalid("a rate above 0 is needed");
        }
    }

    std::vector<byoc::device> devices() const {
        return {{{12, 0}, label_ + " 0", 1024}, {{12, 1}, label_ + " 1"}};
    }

    void check_match(const byoc::region &match) const {
        for (const byoc::node &node : match.nodes) {
            if (node.op == "Relu" && !relu_) {
                throw byoc::error::unsupported("this chip has no Relu").at_node(node.index);
            }
        }
    }

    byoc::cost check_region(const byoc::region &region, byoc::refusals &refuse) const {
        double elements = 0;
        for (const byoc::node &node : region.nodes) {
            const auto count = region.values[node.outputs[0]].elements().value_or(0);
            elements += static_cast<double>(count);
            if (count > most_) {
                refuse.refuse(node.index, "more elements than " + std::to_string(most_));
            }
        }
        return {1.0, elements / rate_};
    }

    std::unique_ptr<byoc::executable> compile(const byoc::region &region, byoc::compile_context &) const {
        code made;
        std::vector<byoc::span<const float>> constants;
        made.elements = region.values.at(0).elements().value_or(0);
        made.values = region.values.size();
        made.inputs.assign(region.inputs.begin(), region.inputs.end());
        made.outputs.assign(region.outputs.begin(), region.outputs.end());
        for (std::size_t index = 0; index < region.values.size(); index++) {
            const byoc::value &value = region.values[index];
            if (!value.is_float32() || value.elements() != made.elements) {
                throw byoc::error::unsupported("only float32 tensors of one known shape");
            }
            if (value.constant_index) {
                const std::size_t len = std::max(constants.size(), static_cast<std::size_t>(*value.constant_index) + 1);
                constants.resize(len);
                made.constants.resize(len);
                constants[*value.constant_index] = value.constant_as<float>();
                made.constants[*value.constant_index] = index;
            }
        }
        for (const byoc::node &node : region.nodes) {
            const auto op = std::find(std::begin(OPS), std::end(OPS), node.op) - std::begin(OPS);
            const std::size_t arity = op < 2 ? 2 : 1;
            if (op == 3 || node.inputs.size() != arity || node.outputs.size() != 1) {
                throw byoc::error::unsupported("only Add, Mul and Relu").at_node(node.index);
            }
            for (const std::uint64_t word :
                 {static_cast<std::uint64_t>(op), node.inputs[0], node.inputs[arity - 1], node.outputs[0]}) {
                made.steps.push_back(word);
            }
        }
        return std::make_unique<program>(std::move(made), constants);
    }

    std::unique_ptr<byoc::executable> load(byoc::span<const std::uint8_t> artefact, byoc::load_context &context) const {
        code made = code::read(artefact);
        std::vector<byoc::span<const float>> constants;
        if (made.constants.size() != context.constants()) {
            throw byoc::error::invalid("the artefact is of another region");
        }
        for (std::uint64_t index = 0; index < context.constants(); index++) {
            const auto bytes = context.constant(index);
            constants.emplace_back(reinterpret_cast<const float *>(bytes.data()), bytes.size() / sizeof(float));
        }
        return std::make_unique<program>(std::move(made), constants);
    }

    std::uint32_t check_artefact(byoc_device_id, std::string_view compatibility) const {
        return compatibility == COMPATIBLE ? BYOC_ARTEFACT_BEST : BYOC_ARTEFACT_FOREIGN;
    }

private:
    std::uint64_t most_;
    double rate_;
    bool relu_;
    std::string label_;
};

constexpr char TABLE[] = R"toml([vendor]
name = "cpp-class"
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

BYOC_CPP_PLUGIN_CLASS("cpp-class", "0.1.0", TABLE, chip);
