//! Moves that read along one dimension and write along another: by tiles through shared memory, so that both go in strides
//! of one.

use crate::driver::Grid;
use crate::kernel::{Launch, Source};
use crate::shape::{Walk, padded};

const TILE: usize = 32;
const THREADS: u32 = 256;
/// Dimensions that are smaller are not worth a tile.
const LEAST: usize = 8;
/// Most blocks of a launch's second and third dimension.
const MOST_BLOCKS: usize = 65535;

/// The dimensions of a tile: the one that is read along, and the last one, which is written along.
fn pair(walk: &Walk<i64>) -> Option<[usize; 2]> {
    let last = walk.dims.len().checked_sub(1)?;
    let read = (0..last).find(|axis| walk.strides[0][*axis] == 1)?;
    let apart = walk.strides[1][last] == 1 && walk.strides[0][last] != 1;
    let large = walk.dims[read] >= LEAST && walk.dims[last] >= LEAST;
    let fits = walk.dims[last].div_ceil(TILE) <= MOST_BLOCKS;
    (apart && large && fits).then_some([read, last])
}

/// The launch for a folded walk from one place to another, where it is such a move.
pub fn launch(walk: &Walk<i64>, from: i64, to: i64) -> Option<Launch> {
    let [read, last] = pair(walk)?;
    let rest: Vec<usize> = (0..last).filter(|axis| *axis != read).collect();
    let dims: Vec<usize> = rest.iter().map(|axis| walk.dims[*axis]).collect();
    let count: usize = dims.iter().product();
    let number = |value: i64| vec![value as u32];
    let mut others = vec![dims.len() as u32];
    // Of no dimensions, there is one place.
    others.extend(padded(dims.iter().map(|size| *size as u32)));
    for strides in &walk.strides {
        others.extend(padded(rest.iter().map(|axis| strides[*axis] as u32)));
    }
    let sizes = [walk.dims[read], walk.dims[last]];
    let structs = vec![
        number(sizes[0] as i64),
        number(sizes[1] as i64),
        number(count as i64),
        number(walk.strides[0][last]),
        number(walk.strides[1][read]),
        number(from),
        number(to),
        others,
    ];
    let [across, down] = sizes.map(|size| size.div_ceil(TILE) as u32);
    let blocks = [across, down, count.clamp(1, MOST_BLOCKS) as u32];
    Some(Launch { grid: Grid { blocks, threads: THREADS }, structs })
}

/// The kernel for elements of a C type of so many bytes.
pub fn source(bytes: usize, ty: &str) -> Source {
    let arguments = [
        format!("const {ty}* __restrict__ x0"),
        format!("{ty}* __restrict__ y"),
        "const u32 read".into(),
        "const u32 written".into(),
        "const u32 count".into(),
        "const u32 step_in".into(),
        "const u32 step_out".into(),
        "const int from".into(),
        "const int to".into(),
        "const __grid_constant__ Tail<2> others".into(),
    ];
    let body = format!(
        "    __shared__ {ty} tile[32][33];
    const u32 tx = threadIdx.x % 32, ty = threadIdx.x / 32;
    for (u32 place = blockIdx.z; place < count; place += gridDim.z) {{
        u32 at[2];
        places(others, place, at);
        for (u32 r = ty; r < 32; r += 8) {{
            const u32 i = blockIdx.x * 32 + tx, j = blockIdx.y * 32 + r;
            if (i < read && j < written) tile[r][tx] = x0[(int)(at[0] + i + j * step_in) + from];
        }}
        __syncthreads();
        for (u32 r = ty; r < 32; r += 8) {{
            const u32 i = blockIdx.x * 32 + r, j = blockIdx.y * 32 + tx;
            if (i < read && j < written) y[(int)(at[1] + i * step_out + j) + to] = tile[tx][r];
        }}
        __syncthreads();
    }}
"
    );
    Source::new(format!("transpose{bytes}"), &arguments, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_written_along_one_dimension_needs_no_tiles() {
        let walk = |dims: &[usize], from: &[i64], to: &[i64]| Walk {
            dims: dims.to_vec(),
            strides: vec![from.to_vec(), to.to_vec()],
        };
        // [b, c, p] as [b, p, c].
        let turned = walk(&[2, 40, 9], &[360, 1, 40], &[360, 9, 1]);
        let launch = launch(&turned, 0, 0).expect("tiles");
        assert_eq!(launch.grid.blocks, [2, 1, 2]);
        assert_eq!(launch.structs[..5], [[40], [9], [2], [40], [9]]);
        assert!(super::launch(&walk(&[40, 9], &[18, 1], &[9, 1]), 0, 0).is_none());
        assert!(super::launch(&walk(&[4, 9], &[1, 4], &[9, 1]), 0, 0).is_none());
    }
}
