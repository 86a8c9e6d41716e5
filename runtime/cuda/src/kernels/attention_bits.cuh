// A tile of keys or values as they are stored, zero where there are none.
#define LINES(from, lies, count, lines)                                                                    \
    if (lies.item == 1 && wide) {                                                                          \
        for (u32 e = threadIdx.x; e < KEYS * SIZE / PACK; e += 128) {                                      \
            const u32 j = e / (SIZE / PACK), d = e % (SIZE / PACK) * PACK;                                 \
            Words read = {{0, 0, 0, 0}};                                                                   \
            if (start + j < end && d < count)                                                              \
                read = *(const Words*)(from + lies.first + batch * lies.batch + head * lies.head +         \
                                       (start + j) * lies.row + d);                                        \
            *(Words*)&lines[j][d] = read;                                                                  \
        }                                                                                                  \
    } else {                                                                                               \
        for (u32 e = threadIdx.x; e < KEYS * SIZE; e += 128) {                                             \
            const u32 j = e / SIZE, d = e % SIZE;                                                          \
            lines[j][d] = start + j < end && d < count                                                     \
                              ? from[lies.first + batch * lies.batch + head * lies.head +                  \
                                     (start + j) * lies.row + d * lies.item].bits                          \
                              : (unsigned short)0;                                                         \
        }                                                                                                  \
    }
