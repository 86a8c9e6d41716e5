#include "../src/kernels.hpp"

#include <iostream>

using floats = std::vector<float>;

int main() {
    bool failed = false;
    const auto expect = [&](const char *what, const floats &got, const floats &want) {
        if (got != want) {
            std::cerr << what << " is wrong\n";
            failed = true;
        }
    };
    // One column of padding in front, so that the first result sees the left column alone.
    const acme_npu::conv_shape shape{{1, 1, 2, 2}, {1, 1, 2, 2}, {1, 1, 1, 2}, {1, 1}, {1, 1}, {0, 1}};
    const floats x{1, 2, 3, 4}, w{1, -1, 1, -1}, negative{-1, 1, -1, 1}, identity{1, 0, 0, 1}, bias{1}, c{10, 20};
    floats pair(2), square(4);
    acme_npu::conv_relu(shape, x.data(), w.data(), bias.data(), pair.data());
    expect("conv_relu", pair, {0, 0});
    acme_npu::conv_relu(shape, x.data(), negative.data(), nullptr, pair.data());
    expect("conv_relu without bias", pair, {4, 2});
    acme_npu::matmul_add({2, 2}, {2, 2}, 2, x.data(), identity.data(), c.data(), square.data());
    expect("matmul_add", square, {11, 22, 13, 24});
    acme_npu::add(2, x.data(), c.data(), pair.data());
    expect("add", pair, {11, 22});
    return failed ? 1 : 0;
}
