
// A tile of 16 × 8 of `c += a · b`, by all 32 threads of a warp. Each has, with `four` = lane / 4 and `pair` = lane % 4 * 2:
// of a, rows four and four + 8, columns pair and pair + 1, then the same 8 columns on; of b, rows pair and pair + 1, then 8
// rows on, of column four; of c, rows four and four + 8, columns pair and pair + 1.
#ifdef __CUDACC_RTC__
#define MMA_OF(name, type)                                                                                  \
    __device__ inline void name(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {                       \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                                   \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                \
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                 \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
    }
MMA_OF(mma_half, "f16")
MMA_OF(mma_brain, "bf16")
// Of bytes: four where there are two above, and twice as many steps.
#define MMA_OF_BYTES(name, left, right)                                                                     \
    __device__ inline void name(int (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {                         \
        asm("mma.sync.aligned.m16n8k32.row.col.s32." left "." right ".s32 "                                  \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                \
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                 \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
    }
MMA_OF_BYTES(mma_s8_s8, "s8", "s8")
MMA_OF_BYTES(mma_s8_u8, "s8", "u8")
MMA_OF_BYTES(mma_u8_s8, "u8", "s8")
MMA_OF_BYTES(mma_u8_u8, "u8", "u8")
// The right factor of a tile from its rows: lane i of the first 16 has the address of row i.
__device__ inline void down(u32 (&b)[2], const unsigned short* row) {
    const u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(at) : "memory");
}
#endif
// Two elements next to each other.
__device__ inline u32 two(const unsigned short* p) { return *(const u32*)p; }
