/* What the device computes. Here it is simulated. */
#pragma once

#include <stdint.h>

/* A convolution over two dimensions: shapes of its operands and result, attributes by axis. */
typedef struct {
    const int64_t *x, *w, *y; int64_t strides[2], dilations[2], pads[2];
} conv_shape;

/* What is negative becomes zero; `bias` may be NULL. */
static inline void conv_relu(const conv_shape *s, const float *x, const float *w, const float *bias, float *y) {
    const int64_t taps = s->w[1] * s->w[2] * s->w[3];
    for (int64_t at = 0; at < s->y[0] * s->y[1] * s->y[2] * s->y[3]; at++) {
        const int64_t column = at % s->y[3], row = at / s->y[3] % s->y[2], plane = at / s->y[3] / s->y[2];
        const int64_t filter = plane % s->y[1], image = plane / s->y[1];
        float sum = bias ? bias[filter] : 0;
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t i = row * s->strides[0] + tap / s->w[3] % s->w[2] * s->dilations[0] - s->pads[0];
            const int64_t j = column * s->strides[1] + tap % s->w[3] * s->dilations[1] - s->pads[1];
            const int64_t channel = tap / s->w[3] / s->w[2];
            if (i >= 0 && i < s->x[2] && j >= 0 && j < s->x[3]) {
                sum += w[filter * taps + tap] * x[((image * s->x[1] + channel) * s->x[2] + i) * s->x[3] + j];
            }
        }
        y[at] = sum < 0 ? 0 : sum;
    }
}

/* y = a · b + c for matrices of these sizes; `c_len` says whether `c` is a matrix or one row for all. */
static inline void matmul_add(const int64_t *a_dims, const int64_t *b_dims, int64_t c_len, const float *a, const float *b,
                              const float *c, float *y) {
    const int64_t inner = a_dims[1], columns = b_dims[1];
    for (int64_t at = 0; at < a_dims[0] * columns; at++) {
        float sum = 0;
        for (int64_t k = 0; k < inner; k++) {
            sum += a[at / columns * inner + k] * b[k * columns + at % columns];
        }
        y[at] = sum + c[at % c_len];
    }
}

static inline void add(int64_t len, const float *a, const float *b, float *y) {
    for (int64_t at = 0; at < len; at++) {
        y[at] = a[at] + b[at];
    }
}
