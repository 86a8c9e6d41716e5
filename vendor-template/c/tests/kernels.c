#include "../src/kernels.h"

#include <stdio.h>
#include <string.h>

static int failed;

static void expect(const char *what, const float *got, const float *want, size_t len) {
    if (memcmp(got, want, len * sizeof(float)) != 0) {
        fprintf(stderr, "%s is wrong\n", what);
        failed = 1;
    }
}

int main(void) {
    const int64_t x_dims[4] = {1, 1, 2, 2}, w_dims[4] = {1, 1, 2, 2}, y_dims[4] = {1, 1, 1, 2};
    /* One column of padding in front, so that the first result sees the left column alone. */
    const conv_shape shape = {x_dims, w_dims, y_dims, {1, 1}, {1, 1}, {0, 1}};
    const float x[4] = {1, 2, 3, 4}, w[4] = {1, -1, 1, -1}, bias[1] = {1}, c[2] = {10, 20};
    const int64_t square[2] = {2, 2};
    float y[4];
    conv_relu(&shape, x, w, bias, y);
    expect("conv_relu", y, (const float[]){0, 0}, 2);
    conv_relu(&shape, x, (const float[]){-1, 1, -1, 1}, NULL, y);
    expect("conv_relu without bias", y, (const float[]){4, 2}, 2);
    matmul_add(square, square, 2, x, (const float[]){1, 0, 0, 1}, c, y);
    expect("matmul_add", y, (const float[]){11, 22, 13, 24}, 4);
    add(2, x, c, y);
    expect("add", y, (const float[]){11, 22}, 2);
    return failed;
}
