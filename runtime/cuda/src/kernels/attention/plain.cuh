    enum {
        BYTES = SIZE * sizeof(T),
        TILE = BYTES > 512 ? 8 : 16,
        KEYS = BYTES > 1024 ? 8 : 32,
        MINE = TILE / 4,
        ITEMS = SIZE / 32,
    };
    __shared__ T query[TILE][SIZE], lines[KEYS][SIZE + 1], weight[TILE][KEYS];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 all = a.group * a.rows, first = blockIdx.x * TILE, shared_heads = a.heads / a.group;
    for (u32 pair = blockIdx.y; pair < batches * shared_heads; pair += gridDim.y) {
        const u32 batch = pair / shared_heads, head = pair % shared_heads;
        const Span span = SPAN;
        u32 begin = blockIdx.z * each, end = begin + each < a.keys ? begin + each : a.keys;
        seen_by(a, span, first, first + TILE < all ? first + TILE - 1 : all - 1, begin, end);
        __syncthreads();
        for (u32 e = threadIdx.x; e < TILE * SIZE; e += 128) {
            const u32 r = first + e / SIZE, d = e % SIZE;
            const u32 h = head * a.group + r / a.rows;
            const bool there = r < all && d < a.size;
            query[e / SIZE][d] = there ? ld(ITEM(q, h, r % a.rows, d)) : (T)0;
        }
        T most[MINE], sum[MINE], out[MINE][ITEMS];
        for (int i = 0; i < MINE; ++i) {
            most[i] = (T)(-1.0 / 0.0);
            sum[i] = 0;
            for (int c = 0; c < ITEMS; ++c) out[i][c] = 0;
        }
        for (u32 start = begin; start < end; start += KEYS) {
            __syncthreads();
            LINES(k, a.size)
            __syncthreads();
            T score[MINE];
            for (int i = 0; i < MINE; ++i) score[i] = 0;
            if (lane < KEYS)
                for (u32 d = 0; d < a.size; ++d) {
                    const T key = lines[lane][d];
                    for (int i = 0; i < MINE; ++i) score[i] += query[warp + 4 * i][d] * key;
                }
            for (int i = 0; i < MINE; ++i) {
                const u32 r = first + warp + 4 * i, key = start + lane, h = head * a.group + r / a.rows;
                T s = (T)(-1.0 / 0.0);
                if (r < all && lane < KEYS && key < end && sees(a, span, r % a.rows, key)) {
                    const u32 row = r % a.rows;
                    s = score[i] * (T)a.scale;
                    if (a.cap > 0) s = tanh(s / (T)a.cap) * (T)a.cap;
MASK                }
                T top = s;
                for (int half = 16; half > 0; half /= 2) top = greater_of(top, __shfl_xor_sync(0xffffffffu, top, half));
                top = greater_of(top, most[i]);
                const T kept = top == (T)(-1.0 / 0.0) ? (T)1 : exp(most[i] - top);
                const T p = s == (T)(-1.0 / 0.0) ? (T)0 : exp(s - top);
                T whole = p;
                for (int half = 16; half > 0; half /= 2) whole += __shfl_xor_sync(0xffffffffu, whole, half);
                if (lane < KEYS) weight[warp + 4 * i][lane] = p;
                most[i] = top;
                sum[i] = sum[i] * kept + whole;
                for (int c = 0; c < ITEMS; ++c) out[i][c] *= kept;
            }
            __syncthreads();
            LINES(v, a.width)
            __syncthreads();
            for (u32 j = 0; j < KEYS; ++j)
                for (int i = 0; i < MINE; ++i) {
                    const T p = weight[warp + 4 * i][j];
                    for (int c = 0; c < ITEMS; ++c) out[i][c] += p * lines[j][lane + 32 * c];
                }
        }
        for (int i = 0; i < MINE; ++i) {
            const u32 r = first + warp + 4 * i, h = head * a.group + r / a.rows;
            if (r >= all) continue;
            const u32 place = (batch * a.heads + h) * a.rows + r % a.rows;
            T* part = parts + ((u64)blockIdx.z * batches * a.heads * a.rows + place) * (a.width + 2);
            if (gridDim.z > 1 && lane == 0) part[0] = most[i], part[1] = sum[i];
            for (int c = 0; c < ITEMS; ++c) {
                const u32 d = lane + 32 * c;
                if (d >= a.width) continue;
                if (gridDim.z > 1) {
                    part[2 + d] = out[i][c];
                    continue;
                }
                const T whole = WHOLE(sum[i], most[i], h);
                st(ITEM(y, h, r % a.rows, d), whole == 0 ? (T)0 : out[i][c] / whole);
            }
        }
    }
