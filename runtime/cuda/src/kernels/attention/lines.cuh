// A tile of keys or values, zero where there are none.
#define LINES(from, count)                                                                                 \
    if (wide) {                                                                                            \
        for (u32 e = threadIdx.x; e < KEYS * SIZE / PACK; e += 128) {                                      \
            const u32 j = e / (SIZE / PACK), d = e % (SIZE / PACK) * PACK;                                 \
            Pack<E> read;                                                                                  \
            const bool there = start + j < end && d < count;                                               \
            if (there) read = packed(ROW(from, start + j) + d);                                            \
            for (int u = 0; u < PACK; ++u) lines[j][d + u] = there ? ld(&read.of[u]) : (T)0;               \
        }                                                                                                  \
    } else {                                                                                               \
        for (u32 e = threadIdx.x; e < KEYS * SIZE; e += 128) {                                             \
            const u32 j = e / SIZE, d = e % SIZE;                                                          \
            lines[j][d] = start + j < end && d < count ? ld(KEY(from, start + j, d)) : (T)0;               \
        }                                                                                                  \
    }
