    __shared__ __align__(4) unsigned char left[64][48], right[64][48];
    const u32 row = blockIdx.y * 64, column = blockIdx.x * 64;
    const u32 four = threadIdx.x % 32 / 4, quad = threadIdx.x % 4 * 4, pair = threadIdx.x % 4 * 2;
    const u32 down_by = threadIdx.x / 64 * 32, across = threadIdx.x / 32 % 2 * 32;
    const u32 ones[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101}, pair_of_ones[2] = {0x01010101, 0x01010101};
    for (u32 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
BASE
        // Products, and the sums of rows and columns that zero points are multiplied by.
        int sum[2][4][4], of_rows[2][4], of_columns[4][4];
#pragma unroll
        for (int t = 0; t < 32; ++t) sum[t / 16][t / 4 % 4][t % 4] = of_rows[t / 4 % 2][t % 4] = of_columns[t / 4 % 4][t % 4] = 0;
        for (u32 start = 0; start < k; start += 32) {
            for (u32 e = threadIdx.x; e < 2048; e += 128) {
                {
                    const u32 step = LEFT_ORDER ? e % 32 : e / 64, r = LEFT_ORDER ? e / 32 : e % 64;
                    const u32 i = row + r, s = start + step;
                    left[r][step] = i < m && s < k ? (unsigned char)LEFT : 0;
                }
                {
                    const u32 step = RIGHT_ORDER ? e % 32 : e / 64, c = RIGHT_ORDER ? e / 32 : e % 64;
                    const u32 j = column + c, s = start + step;
                    right[c][step] = j < n && s < k ? (unsigned char)RIGHT : 0;
                }
            }
            __syncthreads();
            u32 a[2][4];
#pragma unroll
            for (int t = 0; t < 2; ++t) {
                const u32 r = down_by + t * 16 + four;
                a[t][0] = *(const u32*)&left[r][quad];
                a[t][1] = *(const u32*)&left[r + 8][quad];
                a[t][2] = *(const u32*)&left[r][quad + 16];
                a[t][3] = *(const u32*)&left[r + 8][quad + 16];
                MMA(of_rows[t], a[t], pair_of_ones);
            }
#pragma unroll
            for (int q = 0; q < 4; ++q) {
                const u32 c = across + q * 8 + four;
                const u32 b[2] = {*(const u32*)&right[c][quad], *(const u32*)&right[c][quad + 16]};
                MMA(of_columns[q], ones, b);
#pragma unroll
                for (int t = 0; t < 2; ++t) MMA(sum[t][q], a[t], b);
            }
            __syncthreads();
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
#pragma unroll
            for (int q = 0; q < 4; ++q) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const u32 i = row + down_by + t * 16 + four + e / 2 * 8, j = column + across + q * 8 + pair + e % 2;
                    if (i >= m || j >= n) continue;
                    const u32 o = (batch * m + i) * n + j;
                    const u32 zi = (u32)(LEFT_ZERO), zj = (u32)(RIGHT_ZERO);
                    const int fresh = (int)((u32)sum[t][q][e] - zi * (u32)of_columns[q][e] - zj * (u32)of_rows[t][e] + k * zi * zj);
STORE                }
            }
        }
    }
