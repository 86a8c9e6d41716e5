typedef unsigned int u32;
#define MAX_RANK 8

// Types that CUDA C has no arithmetic for.
struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
struct boolean { unsigned char byte; };

#ifdef __CUDACC_RTC__
__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ inline unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ inline float brain_to_float(unsigned short bits) { return __uint_as_float((u32)bits << 16); }
// To the nearest, to the even of two; what is no number stays none.
__device__ inline unsigned short float_to_brain(float value) {
    u32 bits = __float_as_uint(value);
    if (value != value) return (unsigned short)((bits >> 16) | 64);
    return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Elements as they are computed with, and back.
template <class T> __device__ inline T ld(const T* p) { return *p; }
__device__ inline float ld(const f16* p) { return half_to_float(p->bits); }
__device__ inline float ld(const bf16* p) { return brain_to_float(p->bits); }
__device__ inline bool ld(const boolean* p) { return p->byte != 0; }
template <class T, class V> __device__ inline void st(T* p, V value) { *p = (T)value; }
template <class V> __device__ inline void st(f16* p, V value) { p->bits = float_to_half((float)value); }
template <class V> __device__ inline void st(bf16* p, V value) { p->bits = float_to_brain((float)value); }
template <class V> __device__ inline void st(boolean* p, V value) { p->byte = value ? 1 : 0; }

// Whole numbers: what the machine leaves undefined is 0 here. Others: to the nearest of the type.
template <class T> __device__ inline bool is_minus_one(T b) { return (T)-1 < (T)0 && b == (T)-1; }
template <class T> __device__ inline T divide(T a, T b) {
    return b == 0 ? (T)0 : is_minus_one(b) ? (T)(0 - (unsigned long long)a) : (T)(a / b);
}
__device__ inline float divide(float a, float b) { return a / b; }
__device__ inline double divide(double a, double b) { return a / b; }
template <class T> __device__ inline T remainder_of(T a, T b) {
    return b == 0 || is_minus_one(b) ? (T)0 : (T)(a % b);
}
template <class T> __device__ inline T modulo(T a, T b) {
    T r = remainder_of(a, b);
    return r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;
}
template <class T> __device__ inline T greater_of(T a, T b) { return a > b || a != a ? a : b; }
template <class T> __device__ inline T smaller_of(T a, T b) { return a < b || a != a ? a : b; }
// What is beyond a type is its nearest end, which is what the machine's own conversion does.
template <class T> __device__ inline T saturated(double v, double low, double high) {
    return v != v ? (T)0 : v <= low ? (T)low : v >= high ? (T)high : (T)v;
}

// A tensor that is read where another has its elements.
template <int N> struct Tail {
    u32 rank;
    u32 dims[MAX_RANK];
    u32 strides[N][MAX_RANK];
};
template <int N> __device__ inline void places(const Tail<N>& t, u32 i, u32 (&at)[N]) {
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] = 0;
    for (int d = (int)t.rank - 1; d > 0; --d) {
        const u32 outer = i / t.dims[d], here = i - outer * t.dims[d];
#pragma unroll
        for (int k = 0; k < N; ++k) at[k] += here * t.strides[k][d];
        i = outer;
    }
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] += i * t.strides[k][0];
}

// Some dimensions of a tensor, counted through in their order.
struct Dims {
    u32 rank;
    u32 dims[MAX_RANK];
    u32 strides[MAX_RANK];
};
__device__ inline u32 place(const Dims& t, u32 i) {
    u32 at = 0;
    for (int d = (int)t.rank - 1; d > 0; --d) {
        const u32 outer = i / t.dims[d];
        at += (i - outer * t.dims[d]) * t.strides[d];
        i = outer;
    }
    return at + i * t.strides[0];
}
