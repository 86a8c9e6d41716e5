// A tile of keys or values as they are stored, zero where there are none.
#define LINES(from, count, lines)                                                                          \
    if (wide) {                                                                                            \
        for (u32 e = threadIdx.x; e < KEYS * SIZE / PACK; e += 128) {                                      \
            const u32 j = e / (SIZE / PACK), d = e % (SIZE / PACK) * PACK;                                 \
            Words read = {{0, 0, 0, 0}};                                                                   \
            if (start + j < end && d < count) read = *(const Words*)(ROW(from, start + j) + d);            \
            *(Words*)&lines[j][d] = read;                                                                  \
        }                                                                                                  \
    } else {                                                                                               \
        for (u32 e = threadIdx.x; e < KEYS * SIZE; e += 128) {                                             \
            const u32 j = e / SIZE, d = e % SIZE;                                                          \
            lines[j][d] = start + j < end && d < count ? KEY(from, start + j, d)->bits : (unsigned short)0;\
        }                                                                                                  \
    }
