    for (u32 o = blockIdx.x * blockDim.x + threadIdx.x; o < n; o += gridDim.x * blockDim.x) {
        const u32 d = o % a.width, place = o / a.width, row = place % a.rows, h = place / a.rows % a.heads;
        const u32 batch = place / a.rows / a.heads, places = n / a.width;
        T top = (T)(-1.0 / 0.0), whole = 0, value = 0;
        for (u32 s = 0; s < count; ++s) top = greater_of(top, parts[((u64)s * places + place) * (a.width + 2)]);
        for (u32 s = 0; s < count && top != (T)(-1.0 / 0.0); ++s) {
            const T* part = parts + ((u64)s * places + place) * (a.width + 2);
            const T weight = exp(part[0] - top);
            whole += weight * part[1];
            value += weight * part[2 + d];
        }
        whole = WHOLE(whole, top, h);
        st(ITEM(y, h, row, d), whole == 0 ? (T)0 : value / whole);
    }
