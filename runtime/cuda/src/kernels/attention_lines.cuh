// A tile of keys or values, zero where there are none.
#define LINES(from, lies, count)                                                                           \
    if (lies.item == 1 && wide) {                                                                          \
        for (u32 e = threadIdx.x; e < KEYS * SIZE / PACK; e += 128) {                                      \
            const u32 j = e / (SIZE / PACK), d = e % (SIZE / PACK) * PACK;                                 \
            Pack<E> read;                                                                                  \
            const bool there = start + j < end && d < count;                                               \
            if (there)                                                                                     \
                read = packed(from + lies.first + batch * lies.batch + head * lies.head + (start + j) * lies.row + d); \
            for (int u = 0; u < PACK; ++u) lines[j][d + u] = there ? ld(&read.of[u]) : (T)0;               \
        }                                                                                                  \
    } else {                                                                                               \
        for (u32 e = threadIdx.x; e < KEYS * SIZE; e += 128) {                                             \
            const u32 j = e / SIZE, d = e % SIZE;                                                          \
            lines[j][d] = start + j < end && d < count                                                     \
                              ? ld(from + lies.first + batch * lies.batch + head * lies.head +             \
                                   (start + j) * lies.row + d * lies.item)                                 \
                              : (T)0;                                                                      \
        }                                                                                                  \
    }
