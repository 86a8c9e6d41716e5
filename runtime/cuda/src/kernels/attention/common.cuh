// What a kernel of attention is told. Operands of heads are read as [batch, head, row, item] with these strides.
struct Heads { u32 first, batch, head, row, item; };
struct Sight {
    // Heads of queries; how many of them share a head of keys and values; rows, keys, items of a key and of a value; how
    // many of the keys are of the past.
    u32 heads, group, rows, keys, size, width, past;
    // The place of the first row among the keys, and how far a row sees to each side: below 0 without an end.
    int place, left, right;
    // A mask's strides, and its columns: keys behind them are not seen.
    u32 mask_batch, mask_head, mask_row, mask_column, columns;
    // Strides of a mask of the keys.
    u32 padding_batch, padding_row;
    float scale, cap;
    // What a score becomes where the mask says no, and what is added to it where that of the keys does.
    float fill, masked;
};

// The end of the keys that a sequence has, the place of its first row, and how many of its keys are of the past.
struct Span { int end, place; u32 past; };

// Where an item of a row lies in one of the operands.
#define ITEM(x, h, r, d)                                                                                   \
    (x + (x##_lies.first + batch * x##_lies.batch + (h) * x##_lies.head + (r) * x##_lies.row + (d) * x##_lies.item))

// How many keys of the past a sequence has that ends with this one: none at a beginning, where all that there is is new.
__device__ inline u32 filled(long long last, long long total, u32 rows, u32 room) {
    const long long count = total == (long long)rows ? 0 : last + 1 - (long long)rows;
    return count < 0 ? 0 : count > (long long)room ? room : (u32)count;
}
__device__ inline bool sees(const Sight& a, const Span& span, u32 row, u32 key) {
    const int ahead = (int)key - ((int)row + span.place);
    return (int)key < span.end && (a.left < 0 || -ahead <= a.left) && (a.right < 0 || ahead <= a.right);
}
// The keys that some row of a tile may see: begin and end.
__device__ inline void seen_by(const Sight& a, const Span& span, u32 first, u32 last, u32& begin, u32& end) {
    // Rows of several heads: all that there are.
    const bool one = first / a.rows == last / a.rows;
    const int low = (int)(one ? first % a.rows : 0) + span.place;
    const int high = (int)(one ? last % a.rows : a.rows - 1) + span.place;
    const int from = a.left < 0 ? 0 : low - a.left, to = a.right < 0 ? span.end : high + a.right + 1;
    const int least = (int)begin, most = (int)end < span.end ? (int)end : span.end;
    begin = (u32)(from > least ? from : least);
    end = (u32)(to < most ? (to < 0 ? 0 : to) : most);
}
