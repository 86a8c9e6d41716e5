typedef unsigned long long u64;
#define PACK ((int)(16 / sizeof(E)))
// 16 bytes of elements, read at once.
template <class X> struct __align__(16) Pack { X of[16 / sizeof(X)]; };
struct __align__(16) Words { u32 of[4]; };
template <class X> __device__ inline Pack<X> packed(const X* p) {
    union Both {
        Words words;
        Pack<X> pack;
    } both;
    both.words = *(const Words*)p;
    return both.pack;
}
