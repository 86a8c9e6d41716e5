// What a kernel in CUDA C needs to be compiled as C++ and run on the host: one block after the other, and within a block
// one thread after the other, each up to the next barrier.
// Headers that take long to read are left out: there are hundreds of kernels.
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <type_traits>

#define __global__
#define __device__
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// Blocks run one after the other, so one copy is enough.
#define __shared__ static

struct Index { unsigned int x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;

static inline float __uint_as_float(unsigned int bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline unsigned int __float_as_uint(float f) { unsigned int bits; memcpy(&bits, &f, 4); return bits; }

static inline float half_to_float(unsigned short bits) {
    const unsigned int sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    const float small = (float)fraction * 5.9604644775390625e-8f;
    return sign ? -small : small;
}
static inline unsigned short float_to_half(float value) {
    const unsigned int bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);
    if (rest >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
    // Below the smallest normal number, adding a half of that scale rounds as it should.
    if (rest < 0x38800000u) return (unsigned short)(sign | (__float_as_uint(__uint_as_float(rest) + 0.5f) - 0x3f000000u));
    return (unsigned short)(sign | ((rest + 0xfffu + (rest >> 13 & 1)) - 0x38000000u) >> 13);
}

namespace fake {
enum { STACK = 64 << 10, WARP = 32 };
// What a thread waits for: all others of its block, or of its warp.
enum Wait { NOTHING, BLOCK_MATES, WARP_MATES };
struct Thread {
    jmp_buf where;
    char* stack;
    unsigned int number;
    Wait wait;
    bool begun, done;
};
static jmp_buf scheduler;
static Thread* current;
static void (*body)();

// Goes back to the scheduler until it goes on here. Neither jump asks the system for anything.
static void leave() {
    if (!_setjmp(current->where)) _longjmp(scheduler, 1);
}

// A thread of one block after the other.
static void run_current() {
    for (;;) {
        body();
        current->done = true;
        leave();
    }
}

static void wait_for(Wait wait) {
    current->wait = wait;
    leave();
}

// Lets a thread run until it leaves.
static void enter(Thread* thread) {
    current = thread;
    threadIdx = Index{thread->number, 0, 0};
    if (_setjmp(scheduler)) return;
    if (thread->begun) _longjmp(thread->where, 1);
    thread->begun = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread->stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, run_current, 0);
    setcontext(&context);
}

// Lets some threads go on where all of them wait for each other.
static bool release(Thread* threads, unsigned int first, unsigned int last, Wait wait) {
    for (unsigned int t = first; t < last; ++t)
        if (threads[t].done || threads[t].wait != wait) return false;
    for (unsigned int t = first; t < last; ++t) threads[t].wait = NOTHING;
    return true;
}

// One block; false where some threads wait for others that never come.
static bool run_block(Thread* threads, unsigned int count) {
    for (unsigned int t = 0; t < count; ++t) {
        threads[t].done = false;
        threads[t].wait = NOTHING;
    }
    for (unsigned int done = 0; done < count;) {
        for (Thread* thread = threads; thread < threads + count; ++thread) {
            if (thread->done || thread->wait != NOTHING) continue;
            enter(thread);
            done += thread->done;
        }
        bool released = release(threads, 0, count, BLOCK_MATES);
        for (unsigned int first = 0; first < count; first += WARP) {
            const unsigned int last = first + WARP < count ? first + WARP : count;
            released = release(threads, first, last, WARP_MATES) || released;
        }
        if (!released && done < count) return false;
    }
    return true;
}

// All blocks, one thread after the other where `threads` is null.
static bool run_blocks(const unsigned int* sizes, Thread* threads) {
    for (unsigned int z = 0; z < sizes[2]; ++z)
        for (unsigned int y = 0; y < sizes[1]; ++y)
            for (unsigned int x = 0; x < sizes[0]; ++x) {
                blockIdx = Index{x, y, z};
                if (threads) {
                    if (!run_block(threads, sizes[3])) return false;
                    continue;
                }
                for (unsigned int t = 0; t < sizes[3]; ++t) {
                    threadIdx = Index{t, 0, 0};
                    body();
                }
            }
    return true;
}

static bool run_grid(const unsigned int* sizes, bool barriers) {
    gridDim = Index{sizes[0], sizes[1], sizes[2]};
    blockDim = Index{sizes[3], 1, 1};
    if (!barriers) return run_blocks(sizes, nullptr);
    Thread* threads = (Thread*)calloc(sizes[3], sizeof(Thread));
    char* stacks = (char*)malloc((size_t)sizes[3] * STACK);
    if (!threads || !stacks) abort();
    for (unsigned int i = 0; i < sizes[3]; ++i) {
        threads[i].number = i;
        threads[i].stack = stacks + (size_t)i * STACK;
    }
    const bool ended = run_blocks(sizes, threads);
    free(stacks);
    free(threads);
    return ended;
}

static void** arguments;
// Indices<0, 1, …, N - 1> is Count<N>::type.
template <size_t... I>
struct Indices {};
template <size_t N, size_t... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <size_t... I>
struct Count<0, I...> {
    typedef Indices<I...> type;
};
template <class... A, size_t... I>
static void call(void (*kernel)(A...), Indices<I...>) {
    kernel(*(std::remove_const_t<A>*)arguments[I]...);
}
template <class... A>
static void call(void (*kernel)(A...)) { call(kernel, typename Count<sizeof...(A)>::type()); }

// For an address 1 where it is only read, 2 where it is written.
template <class A>
static constexpr unsigned int kind_of() {
    return !std::is_pointer_v<A> ? 0 : std::is_const_v<std::remove_pointer_t<A>> ? 1 : 2;
}
// For each argument: its size and its kind.
template <class... A>
static unsigned int describe(void (*)(A...), unsigned int* sizes, unsigned int* kinds) {
    const unsigned int own[] = {(unsigned int)sizeof(A)...};
    const unsigned int kind[] = {kind_of<A>()...};
    for (unsigned int i = 0; i < sizeof...(A); ++i) sizes[i] = own[i], kinds[i] = kind[i];
    return sizeof...(A);
}
}  // namespace fake

static inline void __syncthreads() { fake::wait_for(fake::BLOCK_MATES); }
static inline void __syncwarp() { fake::wait_for(fake::WARP_MATES); }

// A lane's value, from another lane of its warp.
namespace fake {
static unsigned char shown[32][WARP][8];
template <class V>
static V exchange(V value, unsigned int from) {
    auto& warp = shown[threadIdx.x / WARP];
    memcpy(warp[threadIdx.x % WARP], &value, sizeof value);
    __syncwarp();
    memcpy(&value, warp[from % WARP], sizeof value);
    __syncwarp();
    return value;
}
}  // namespace fake
template <class V>
static inline V __shfl_xor_sync(unsigned int, V value, int mask) {
    return fake::exchange(value, threadIdx.x % 32 ^ (unsigned int)mask);
}
template <class V>
static inline V __shfl_sync(unsigned int, V value, int lane) { return fake::exchange(value, (unsigned int)lane); }

// What tensor cores do: every lane shows its parts of both tiles, and computes its part of the product.
namespace fake {
static unsigned int parts[32][32][6];
template <class Number>
static void multiply(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2], Number number) {
    const unsigned int lane = threadIdx.x % 32;
    auto& warp = parts[threadIdx.x / 32];
    memcpy(warp[lane], a, sizeof a);
    memcpy(warp[lane] + 4, b, sizeof b);
    __syncwarp();
    const auto half = [&](unsigned int owner, unsigned int place, unsigned int high) {
        return number((unsigned short)(warp[owner][place] >> 16 * high));
    };
    for (unsigned int e = 0; e < 4; ++e) {
        const unsigned int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        float sum = 0;
        for (unsigned int k = 0; k < 16; ++k) {
            const float left = half(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k % 2);
            const float right = half(column * 4 + k % 8 / 2, 4 + k / 8, k % 2);
            sum += left * right;
        }
        c[e] += sum;
    }
    __syncwarp();
}
}  // namespace fake
static inline void mma_half(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    fake::multiply(c, a, b, half_to_float);
}
static inline void mma_brain(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    fake::multiply(c, a, b, [](unsigned short bits) { return __uint_as_float((unsigned int)bits << 16); });
}
namespace fake {
template <class Left, class Right>
static void multiply_bytes(int (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    const unsigned int lane = threadIdx.x % 32;
    auto& warp = parts[threadIdx.x / 32];
    memcpy(warp[lane], a, sizeof a);
    memcpy(warp[lane] + 4, b, sizeof b);
    __syncwarp();
    for (unsigned int e = 0; e < 4; ++e) {
        const unsigned int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        unsigned int sum = 0;
        for (unsigned int k = 0; k < 32; ++k) {
            const Left left = (Left)(warp[row % 8 * 4 + k % 16 / 4][row / 8 + k / 16 * 2] >> k % 4 * 8);
            const Right right = (Right)(warp[column * 4 + k % 16 / 4][4 + k / 16] >> k % 4 * 8);
            sum += (unsigned int)(left * right);
        }
        c[e] = (int)((unsigned int)c[e] + sum);
    }
    __syncwarp();
}
}  // namespace fake
#define FAKE_MMA_OF_BYTES(name, left, right)                                                                 \
    static inline void name(int (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {            \
        fake::multiply_bytes<left, right>(c, a, b);                                                           \
    }
FAKE_MMA_OF_BYTES(mma_s8_s8, signed char, signed char)
FAKE_MMA_OF_BYTES(mma_s8_u8, signed char, unsigned char)
FAKE_MMA_OF_BYTES(mma_u8_s8, unsigned char, signed char)
FAKE_MMA_OF_BYTES(mma_u8_u8, unsigned char, unsigned char)

// The addresses of 16 rows, and two rows' elements of a lane's column from each eight of them.
static inline void down(unsigned int (&b)[2], const unsigned short* row) {
    const unsigned int lane = threadIdx.x % 32;
    for (unsigned int part = 0; part < 2; ++part) {
        const unsigned short* low = fake::exchange(row, part * 8 + lane % 4 * 2);
        const unsigned short* high = fake::exchange(row, part * 8 + lane % 4 * 2 + 1);
        b[part] = low[lane / 4] | (unsigned int)high[lane / 4] << 16;
    }
}

// What the driver asks of a module with this kernel.
#define FAKE_KERNEL(kernel, barriers)                                                                        \
    extern "C" unsigned int fake_describe(unsigned int* sizes, unsigned int* kinds) {                        \
        return fake::describe(kernel, sizes, kinds);                                                         \
    }                                                                                                        \
    extern "C" int fake_run(const unsigned int* sizes, void** arguments) {                                   \
        fake::arguments = arguments;                                                                         \
        fake::body = [] { fake::call(kernel); };                                                             \
        return fake::run_grid(sizes, barriers);                                                              \
    }
