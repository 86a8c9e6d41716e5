    enum { KEYS = 32, CHUNKS = SIZE / 16, TILES = SIZE / 8 };
    __shared__ __align__(16) unsigned short keys[KEYS][SIZE + 8], values[KEYS][SIZE + 8];
    const u32 lane = threadIdx.x % 32, four = lane / 4, pair = lane % 4 * 2;
    const u32 all = a.group * a.rows, first = blockIdx.x * 64, mine = first + threadIdx.x / 32 * 16;
    const u32 shared_heads = a.heads / a.group;
    for (u32 place = blockIdx.y; place < batches * shared_heads; place += gridDim.y) {
        const u32 batch = place / shared_heads, head = place % shared_heads;
        const Span span = SPAN;
        u32 begin = 0, end = a.keys;
        seen_by(a, span, first, first + 64 < all ? first + 63 : all - 1, begin, end);
        // This lane's rows of the queries, as tiles of 16 × 16.
        u32 query[CHUNKS][4];
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c)
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const u32 r = mine + four + part % 2 * 8, d = c * 16 + pair + part / 2 * 8;
                const E* from = ITEM(q, head * a.group + r / a.rows, r % a.rows, d);
                const u32 low = r < all && d < a.size ? from[0].bits : 0;
                const u32 high = r < all && d + 1 < a.size ? from[q_lies.item].bits : 0;
                query[c][part] = low | high << 16;
            }
        float out[TILES][4], most[2], sum[2] = {0, 0};
        most[0] = most[1] = (float)(-1.0 / 0.0);
#pragma unroll
        for (int t = 0; t < TILES * 4; ++t) out[t / 4][t % 4] = 0;
        for (u32 start = begin; start < end; start += KEYS) {
            __syncthreads();
            LINES(k, a.size, keys)
            LINES(v, a.width, values)
            __syncthreads();
            float score[KEYS / 8][4];
#pragma unroll
            for (int t = 0; t < KEYS / 8; ++t) {
#pragma unroll
                for (int e = 0; e < 4; ++e) score[t][e] = 0;
#pragma unroll
                for (int c = 0; c < CHUNKS; ++c) {
                    const unsigned short* line = &keys[t * 8 + four][c * 16 + pair];
                    const u32 b[2] = {two(line), two(line + 8)};
                    MMA(score[t], query[c], b);
                }
            }
            float top[2] = {most[0], most[1]};
#pragma unroll
            for (int t = 0; t < KEYS / 8; ++t) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const u32 r = mine + four + e / 2 * 8, key = start + t * 8 + pair + e % 2;
                    const u32 row = r % a.rows, h = head * a.group + r / a.rows;
                    typedef float T;
                    T s = (T)(-1.0 / 0.0);
                    if (r < all && key < end && sees(a, span, row, key)) {
                        s = score[t][e] * a.scale;
                        if (a.cap > 0) s = tanh(s / a.cap) * a.cap;
MASK                    }
                    score[t][e] = s;
                    top[e / 2] = greater_of(top[e / 2], s);
                }
            }
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                top[half] = greater_of(top[half], __shfl_xor_sync(0xffffffffu, top[half], 1));
                top[half] = greater_of(top[half], __shfl_xor_sync(0xffffffffu, top[half], 2));
                const bool nothing = top[half] == (float)(-1.0 / 0.0);
                const float kept = nothing ? 1.0f : exp(most[half] - top[half]);
                most[half] = top[half];
                sum[half] *= kept;
#pragma unroll
                for (int t = 0; t < TILES; ++t) out[t][half * 2] *= kept, out[t][half * 2 + 1] *= kept;
#pragma unroll
                for (int t = 0; t < KEYS / 8; ++t) {
#pragma unroll
                    for (int e = half * 2; e < half * 2 + 2; ++e) {
                        score[t][e] = nothing ? 0.0f : exp(score[t][e] - top[half]);
                        sum[half] += score[t][e];
                    }
                }
            }
            // The weights are a left factor as they lie: two tiles of 8 keys are one of 16.
#pragma unroll
            for (int c = 0; c < KEYS / 16; ++c) {
                const u32 p[4] = {both(score[2 * c][0], score[2 * c][1]), both(score[2 * c][2], score[2 * c][3]),
                                  both(score[2 * c + 1][0], score[2 * c + 1][1]),
                                  both(score[2 * c + 1][2], score[2 * c + 1][3])};
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    u32 b[2];
                    down(b, &values[c * 16 + lane % 16][t * 8]);
                    MMA(out[t], p, b);
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
            sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
            const u32 r = mine + four + half * 8, h = head * a.group + r / a.rows;
            if (r >= all) continue;
            const float whole = WHOLE(sum[half], most[half], h);
#pragma unroll
            for (int t = 0; t < TILES; ++t) {
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const u32 d = t * 8 + pair + e;
                    if (d >= a.width) continue;
                    st(ITEM(y, h, r % a.rows, d), whole == 0 ? 0.0f : out[t][half * 2 + e] / whole);
                }
            }
        }
    }
