// From descriptions to primitives, one function a family.
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "byoc-onednn/src/bridge.rs.h"
#include "byoc-onednn/src/network.h"

namespace byoc::onednn {

namespace {

constexpr auto inference = dnnl::prop_kind::forward_inference;

Dims dims_of(const rust::Vec<std::int64_t>& values) { return Dims(values.begin(), values.end()); }

// oneDNN counts the steps between taps from 0.
Dims dilations_of(const Op& op) {
    Dims dims = dims_of(op.dilations);
    for (auto& dim : dims) dim -= 1;
    return dims;
}

// Weights of a grouped convolution have the groups as a dimension of their own.
Dims grouped(const Dims& dims, std::int64_t groups) {
    if (groups == 1) return dims;
    Dims split = dims;
    split[0] /= groups;
    split.insert(split.begin(), groups);
    return split;
}

// The same dimensions with more or fewer ones in front.
Dims widened(const Dims& dims, std::size_t rank) {
    std::size_t spare = dims.size() > rank ? dims.size() - rank : 0;
    if (std::any_of(dims.begin(), dims.begin() + spare, [](auto dim) { return dim != 1; })) {
        throw std::invalid_argument("an operand has more dimensions than the result");
    }
    Dims wide(rank - (dims.size() - spare), 1);
    wide.insert(wide.end(), dims.begin() + spare, dims.end());
    return wide;
}

// What codes or numbers are multiplied by.
Element weights_for(Element type) { return type == Element::f32 ? type : Element::s8; }

}  // namespace

dnnl::algorithm algorithm(Algorithm algorithm) {
    using A = dnnl::algorithm;
    static constexpr A names[] = {
        A::undef, A::binary_max, A::binary_min, A::binary_add, A::binary_sub, A::binary_mul, A::binary_div,
        A::pooling_max, A::pooling_avg_exclude_padding, A::pooling_avg_include_padding,
        A::reduction_sum, A::reduction_mean, A::reduction_mul, A::reduction_norm_lp_power_p_sum,
        A::reduction_norm_lp_sum, A::eltwise_relu, A::eltwise_elu, A::eltwise_tanh, A::eltwise_logistic,
        A::eltwise_abs, A::eltwise_sqrt, A::eltwise_linear, A::eltwise_soft_relu, A::eltwise_exp, A::eltwise_log,
        A::eltwise_gelu_erf, A::eltwise_gelu_tanh, A::eltwise_swish, A::eltwise_clip, A::eltwise_pow,
        A::eltwise_hardswish, A::eltwise_hardsigmoid, A::eltwise_mish, A::eltwise_round, A::resampling_nearest,
        A::resampling_linear,
    };
    static_assert(std::size(names) == static_cast<std::size_t>(Algorithm::Bilinear) + 1);
    return names[static_cast<std::size_t>(algorithm)];
}

void Network::op(const Op& op) {
    using N = Network;
    static constexpr void (Network::*families[])(const Op&) = {
        &N::convolution, &N::deconvolution, &N::product, &N::pooling, &N::softmax, &N::layer_norm, &N::batch_norm,
        &N::lrn, &N::concat, &N::eltwise, &N::binary, &N::prelu, &N::reduction, &N::resampling, &N::view,
        &N::transpose, &N::part, &N::dequantise,
    };
    static_assert(std::size(families) == static_cast<std::size_t>(Kind::Dequantise) + 1);
    (this->*families[static_cast<std::size_t>(op.kind)])(op);
}

void Network::make(const Op& op, const dnnl::primitive& primitive, const Desc& lies, std::vector<Argument> args) {
    std::size_t into = new_slot(lies);
    args.push_back({DNNL_ARG_DST, into});
    step(primitive, args);
    set(op.output, into, dims_of(op.dims));
}

dnnl::primitive_attr Network::attributes(const Op& op, const Dims& dims) {
    dnnl::post_ops post;
    for (const PostOp& p : op.post) {
        if (p.kind == Kind::Eltwise) {
            post.append_eltwise(algorithm(p.algorithm), p.alpha, p.beta);
            continue;
        }
        Dims shape = at(p.value).dims;
        bool whole = shape == dims_of(op.dims);
        // A whole tensor is wanted as the result will lie.
        post.append_binary(algorithm(p.algorithm), whole ? any(dims) : plain(widened(shape, dims.size())));
    }
    dnnl::primitive_attr attributes = own_scratch();
    attributes.set_post_ops(post);
    if (!op.zero.empty()) attributes.set_zero_points_mask(DNNL_ARG_SRC, 0);
    return attributes;
}

void Network::zero(const Op& op, std::vector<Argument>& args) {
    if (op.zero.empty()) return;
    std::size_t slot = constant_slot(op.zero[0], plain({1}), plain({1}, Element::s32));
    args.push_back({DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, slot});
}

void Network::operands(
    const Op& op, const Dims& dims, const dnnl::primitive_desc_base& chosen, std::vector<Argument>& args) {
    for (std::size_t i = 0; i < op.post.size(); i++) {
        if (op.post[i].kind == Kind::Eltwise) continue;
        std::size_t value = op.post[i].value;
        int argument = DNNL_ARG_ATTR_MULTIPLE_POST_OP(static_cast<int>(i)) | DNNL_ARG_SRC_1;
        bool whole = at(value).dims == dims_of(op.dims);
        if (!whole) {
            args.push_back({argument, reshaped(value, widened(at(value).dims, dims.size()))});
            continue;
        }
        Desc wanted = chosen.query_md(dnnl::query::exec_arg_md, argument);
        bool same_rank = dims == dims_of(op.dims);
        args.push_back({argument, same_rank ? as(value, wanted) : reordered(reshaped(value, dims), wanted)});
    }
}

// Weights are `given` as dimensions `kernel` to the primitive.
template <class Primitive>
void Network::window(const Op& op, dnnl::algorithm kind, const Desc& given, const Dims& kernel) {
    Dims dims = dims_of(op.dims);
    const Value x = at(op.inputs[0]);
    bool has_bias = op.inputs.size() > 2;
    Desc bias = has_bias ? plain({dims[1]}) : Desc();
    typename Primitive::primitive_desc chosen(weights_->engine, inference, kind, any(x.dims, x.type),
        any(kernel, weights_for(x.type)), bias, any(dims, element(op.dtype)), dims_of(op.strides), dilations_of(op), dims_of(op.begin), dims_of(op.end),
        attributes(op, dims));
    std::vector<Argument> args = {{DNNL_ARG_SRC, as(op.inputs[0], chosen.src_desc())},
        {DNNL_ARG_WEIGHTS, packed(op.inputs[1], given, chosen.weights_desc())}};
    if (has_bias) args.push_back({DNNL_ARG_BIAS, slot(op.inputs[2])});
    zero(op, args);
    operands(op, dims, chosen, args);
    make(op, Primitive(chosen), chosen.dst_desc(), std::move(args));
}

void Network::convolution(const Op& op) {
    Dims kernel = grouped(at(op.inputs[1]).dims, op.groups);
    Desc given = plain(kernel, at(op.inputs[1]).type);
    window<dnnl::convolution_forward>(op, dnnl::algorithm::convolution_direct, given, kernel);
}

// ONNX has input channels first, oneDNN output channels.
void Network::deconvolution(const Op& op) {
    Dims kernel = grouped(at(op.inputs[1]).dims, op.groups);
    std::size_t first = op.groups == 1 ? 0 : 1;
    std::vector<int> order(kernel.size());
    std::iota(order.begin(), order.end(), 0);
    std::swap(order[first], order[first + 1]);
    Desc given = plain(kernel).permute_axes(order);
    window<dnnl::deconvolution_forward>(op, dnnl::algorithm::deconvolution_direct, given, given.get_dims());
}

// MatMul and Gemm. `axis` 1 says that the first operand is transposed, 2 the second, 3 both.
void Network::product(const Op& op) {
    const auto& engine = weights_->engine;
    Dims a = at(op.inputs[0]).dims, b = at(op.inputs[1]).dims, dims = dims_of(op.dims), inner = dims;
    std::size_t rank = std::max(a.size(), b.size());
    bool flat = b.size() == 2 && a.size() > 2;
    if (flat) {
        // Many rows times one matrix is one product.
        std::int64_t width = a.back();
        a = {std::accumulate(a.begin(), a.end() - 1, std::int64_t{1}, std::multiplies<>()), width};
        inner = {a[0], dims.back()};
        rank = 2;
    }
    a = widened(a, rank), b = widened(b, rank);
    Element left_type = at(op.inputs[0]).type, right_type = at(op.inputs[1]).type;
    auto turned = [&](const Dims& dims, bool turn, Element type) {
        Desc desc = plain(dims, type);
        if (!turn) return desc;
        std::vector<int> order(dims.size());
        std::iota(order.begin(), order.end(), 0);
        std::swap(order[dims.size() - 1], order[dims.size() - 2]);
        return desc.permute_axes(order);
    };
    Desc left = turned(a, op.axis & 1, left_type), right = turned(b, op.axis & 2, right_type);
    bool constant = is_constant(op.inputs[1]), has_bias = op.inputs.size() > 2;
    Desc bias;
    if (has_bias) bias = plain(widened(at(op.inputs[2]).dims, inner.size()));
    dnnl::matmul::primitive_desc chosen(
        engine, left, constant ? any(right.get_dims(), weights_for(left_type)) : right, bias,
        plain(inner, element(op.dtype)), attributes(op, inner));
    auto operand = [&](std::size_t value, const Dims& dims, const Desc& desc) {
        std::size_t slot = reshaped(value, dims);
        return this->desc(slot) == desc ? slot : new_slot(desc, slot);
    };
    std::vector<Argument> args;
    args.push_back({DNNL_ARG_SRC, operand(op.inputs[0], a, left)});
    args.push_back({DNNL_ARG_WEIGHTS, constant ? constant_slot(op.inputs[1], right, chosen.weights_desc())
                                               : operand(op.inputs[1], b, right)});
    if (has_bias) args.push_back({DNNL_ARG_BIAS, reshaped(op.inputs[2], bias.get_dims())});
    zero(op, args);
    operands(op, inner, chosen, args);
    std::size_t into = new_slot(chosen.dst_desc());
    args.push_back({DNNL_ARG_DST, into});
    step(dnnl::matmul(chosen), args);
    set(op.output, inner == dims ? into : new_slot(plain(dims, element(op.dtype)), into), dims);
}

void Network::pooling(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    dnnl::pooling_forward::primitive_desc chosen(weights_->engine, inference, algorithm(op.algorithm), desc(from),
        any(dims, element(op.dtype)), dims_of(op.strides), dims_of(op.kernel), dilations_of(op), dims_of(op.begin), dims_of(op.end), own_scratch());
    make(op, dnnl::pooling_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}});
}

void Network::softmax(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    auto kind = op.algorithm == Algorithm::Log ? dnnl::algorithm::softmax_log : dnnl::algorithm::softmax_accurate;
    dnnl::softmax_forward::primitive_desc chosen(
        weights_->engine, inference, kind, desc(from), desc(from), static_cast<int>(op.axis), own_scratch());
    make(op, dnnl::softmax_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}});
}

// Over the last dimension. Inputs: what is normalised, the scale, perhaps a shift.
void Network::layer_norm(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = as(op.inputs[0], plain(dims));
    auto flags = dnnl::normalization_flags::use_scale;
    if (op.inputs.size() > 2) flags |= dnnl::normalization_flags::use_shift;
    dnnl::layer_normalization_forward::primitive_desc chosen(
        weights_->engine, inference, plain(dims), plain(dims), op.alpha, flags, own_scratch());
    std::vector<Argument> args = {{DNNL_ARG_SRC, from}, {DNNL_ARG_SCALE, slot(op.inputs[1])}};
    if (op.inputs.size() > 2) args.push_back({DNNL_ARG_SHIFT, slot(op.inputs[2])});
    make(op, dnnl::layer_normalization_forward(chosen), plain(dims), std::move(args));
}

// Inputs: what is normalised, scale, shift, mean and variance of each channel.
void Network::batch_norm(const Op& op) {
    using Flags = dnnl::normalization_flags;
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    dnnl::batch_normalization_forward::primitive_desc chosen(weights_->engine, inference, desc(from), desc(from),
        op.alpha, Flags::use_global_stats | Flags::use_scale | Flags::use_shift, own_scratch());
    make(op, dnnl::batch_normalization_forward(chosen), chosen.dst_desc(),
        {{DNNL_ARG_SRC, from}, {DNNL_ARG_SCALE, slot(op.inputs[1])}, {DNNL_ARG_SHIFT, slot(op.inputs[2])},
            {DNNL_ARG_MEAN, slot(op.inputs[3])}, {DNNL_ARG_VARIANCE, slot(op.inputs[4])}});
}

void Network::lrn(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    dnnl::lrn_forward::primitive_desc chosen(weights_->engine, inference, dnnl::algorithm::lrn_across_channels,
        desc(from), desc(from), op.axis, op.alpha, op.beta, 1.0f, own_scratch());
    make(op, dnnl::lrn_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}});
}

// All in the layout of the first that a primitive has made: the others are brought to it where they differ.
void Network::concat(const Op& op) {
    std::vector<Desc> parts;
    for (std::size_t value : op.inputs) parts.push_back(desc(slot(value)));
    dnnl::concat::primitive_desc chosen(weights_->engine, static_cast<int>(op.axis), parts, own_scratch());
    std::vector<Argument> args;
    for (std::size_t i = 0; i < op.inputs.size(); i++) {
        args.push_back({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), slot(op.inputs[i])});
    }
    make(op, dnnl::concat(chosen), chosen.dst_desc(), std::move(args));
}

void Network::eltwise(const Op& op) {
    std::size_t from = slot(op.inputs[0]);
    dnnl::eltwise_forward::primitive_desc chosen(
        weights_->engine, inference, algorithm(op.algorithm), desc(from), desc(from), op.alpha, op.beta, own_scratch());
    make(op, dnnl::eltwise_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}});
}

void Network::binary(const Op& op) {
    Dims dims = dims_of(op.dims);
    // The first operand has the shape of the result: oneDNN broadcasts the second only.
    std::size_t a = op.inputs[0], b = op.inputs[1];
    auto wide = [&](std::size_t value) {
        Dims shape = widened(at(value).dims, dims.size());
        return shape == at(value).dims ? slot(value) : reshaped(value, shape);
    };
    std::size_t left = wide(a), right = wide(b);
    if (desc(left).get_dims() == desc(right).get_dims()) right = reordered(right, desc(left));
    dnnl::binary::primitive_desc chosen(
        weights_->engine, algorithm(op.algorithm), desc(left), desc(right), any(dims, element(op.dtype)), attributes(op, dims));
    std::vector<Argument> args = {{DNNL_ARG_SRC_0, left}, {DNNL_ARG_SRC_1, right}};
    operands(op, dims, chosen, args);
    make(op, dnnl::binary(chosen), chosen.dst_desc(), std::move(args));
}

void Network::prelu(const Op& op) {
    Dims dims = dims_of(op.dims), slopes = widened(at(op.inputs[1]).dims, dims.size());
    std::size_t from = slot(op.inputs[0]);
    dnnl::prelu_forward::primitive_desc chosen(weights_->engine, inference, desc(from), any(slopes), any(dims), own_scratch());
    std::size_t weights = packed(op.inputs[1], plain(slopes), chosen.weights_desc());
    make(op, dnnl::prelu_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, weights}});
}

// `kernel` is the shape with ones where it is reduced.
void Network::reduction(const Op& op) {
    Dims dims = dims_of(op.dims), kept = dims_of(op.kernel);
    std::size_t from = slot(op.inputs[0]);
    if (desc(from).get_dims() == kept) {  // nothing is reduced
        Op each = op;
        each.dims = op.kernel;
        bool norm = op.algorithm == Algorithm::NormL1 || op.algorithm == Algorithm::NormL2;
        each.algorithm = norm ? Algorithm::Abs : Algorithm::Linear;
        eltwise(each);
    } else {
        dnnl::reduction::primitive_desc chosen(
            weights_->engine, algorithm(op.algorithm), desc(from), plain(kept), op.alpha, 0.0f, own_scratch());
        std::size_t into = new_slot(plain(kept));
        step(dnnl::reduction(chosen), {{DNNL_ARG_SRC, from}, {DNNL_ARG_DST, into}});
        set(op.output, into, kept);
    }
    if (kept != dims) set(op.output, reshaped(op.output, dims), dims);
}

void Network::resampling(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    dnnl::resampling_forward::primitive_desc chosen(weights_->engine, inference, algorithm(op.algorithm), desc(from),
        any(dims, element(op.dtype)), own_scratch());
    make(op, dnnl::resampling_forward(chosen), chosen.dst_desc(), {{DNNL_ARG_SRC, from}});
}

void Network::view(const Op& op) {
    Dims dims = dims_of(op.dims);
    set(op.output, reshaped(op.inputs[0], dims), dims);
}

// `kernel` is the permutation.
void Network::transpose(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    std::vector<int> order(dims.size());
    for (std::size_t i = 0; i < order.size(); i++) order[static_cast<std::size_t>(op.kernel[i])] = static_cast<int>(i);
    std::size_t turned = new_slot(desc(from).permute_axes(order), from);
    set(op.output, reordered(turned, plain(dims, element(op.dtype))), dims);
}

// From the plain layout: blocks of others may be cut through.
void Network::part(const Op& op) {
    Dims dims = dims_of(op.dims), begin(dims.size());
    begin[static_cast<std::size_t>(op.axis)] = op.begin[0];
    std::size_t whole = as(op.inputs[0], plain_of(op.inputs[0]));
    std::size_t cut = new_slot(desc(whole).submemory_desc(dims, begin), whole);
    set(op.output, reordered(cut, plain(dims, element(op.dtype))), dims);
}

// Inputs: codes, and the scales along an axis. The layout stays where it is one of strides alone.
void Network::dequantise(const Op& op) {
    Dims dims = dims_of(op.dims);
    std::size_t from = slot(op.inputs[0]);
    bool stays = desc(from).get_format_kind() == dnnl::memory::format_kind::blocked && desc(from).get_inner_nblks() == 0;
    Desc lies = stays && !dims.empty() ? Desc(dims, Element::f32, desc(from).get_strides()) : plain(dims);
    dnnl::primitive_attr attributes = this->attributes(op, dims);
    attributes.set_scales_mask(DNNL_ARG_SRC, at(op.inputs[1]).dims[0] == 1 ? 0 : 1 << op.axis);
    dnnl::reorder::primitive_desc chosen(weights_->engine, desc(from), weights_->engine, lies, attributes);
    std::vector<Argument> args = {{DNNL_ARG_FROM, from}, {DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, slot(op.inputs[1])}};
    zero(op, args);
    make(op, dnnl::reorder(chosen), lies, std::move(args));
}

}  // namespace byoc::onednn
