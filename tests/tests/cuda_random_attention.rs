//! Attention of shapes and options at random on the pretended GPU: results are the host's.

mod cuda_launches;

use cuda_launches::launches;

/// How many models of each operator.
const MODELS: u64 = 100;
const TYPES: [(&str, &str); 3] = [("float", "1e-3"), ("float16", "1e-2"), ("bfloat16", "3e-2")];
const SIZES: [usize; 7] = [2, 8, 16, 17, 64, 67, 130];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) % count.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 1
    }
}

/// A model of one node, as it is put together.
#[derive(Default)]
struct Draft {
    inputs: Vec<String>,
    outputs: Vec<String>,
    constants: Vec<String>,
    /// Names of the node's operands, empty where there is none.
    operands: Vec<&'static str>,
    attributes: Vec<String>,
}

impl Draft {
    fn input(&mut self, name: &'static str, ty: &str, dims: &[usize]) {
        self.inputs.push(format!("{ty}{dims:?} {name}"));
        self.operands.push(name);
    }

    fn constant(&mut self, name: &'static str, ty: &str, dims: &[usize], numbers: &[usize]) {
        let listed = format!("{numbers:?}").replace('[', "{").replace(']', "}");
        self.constants.push(format!("{ty}{dims:?} {name} = {listed}"));
        self.operands.push(name);
    }

    fn none(&mut self) {
        self.operands.push("");
    }

    fn pad(&mut self, place: usize) {
        self.operands.resize(place, "");
    }

    fn attribute(&mut self, name: &str, value: impl std::fmt::Display) {
        self.attributes.push(format!("{name} = {value}"));
    }

    fn text(&self, op: &str) -> String {
        let results: Vec<&str> =
            self.outputs.iter().filter_map(|output| output.split(' ').next_back()).collect();
        let constants = match self.constants.is_empty() {
            true => String::new(),
            false => format!("<{}>", self.constants.join(", ")),
        };
        format!(
            "<ir_version: 10, opset_import: [\"\": 21, \"com.microsoft\": 1]>\ng ({}) => ({})\n{constants} {{\n    {} = \
             com.microsoft.{op}<{}>({})\n}}",
            self.inputs.join(", "),
            self.outputs.join(", "),
            results.join(", "),
            self.attributes.join(", "),
            self.operands.join(", ")
        )
    }
}

fn multi_head(rng: &mut Rng, ty: &str) -> Draft {
    let mut draft = Draft::default();
    let (batch, heads, size) = (rng.of(&[1, 2, 3]), rng.of(&[1, 2, 3]), rng.of(&SIZES));
    let (rows, mut keys) = (rng.of(&[1, 2, 7, 37]), rng.of(&[1, 5, 31, 150]));
    let form = rng.below(4);
    let width = if form == 0 { rng.of(&SIZES) } else { size };
    let flat = |rows: usize, size: usize| vec![batch, rows, heads * size];
    match form {
        1 => {
            keys = rows;
            draft.input("q", ty, &[batch, rows, heads, 3, size]);
            draft.pad(3);
        }
        2 => {
            draft.input("q", ty, &flat(rows, size));
            draft.input("k", ty, &[batch, keys, heads, 2, size]);
            draft.none();
        }
        3 => {
            draft.input("q", ty, &flat(rows, size));
            draft.input("k", ty, &[batch, heads, keys, size]);
            draft.input("v", ty, &[batch, heads, keys, size]);
        }
        _ => {
            draft.input("q", ty, &flat(rows, size));
            draft.input("k", ty, &flat(keys, size));
            draft.input("v", ty, &flat(keys, width));
        }
    }
    match rng.chance() {
        true => draft.input("b", ty, &[heads * (2 * size + width)]),
        false => draft.none(),
    }
    let past = if rng.chance() { rng.of(&[0, 1, 9, 200]) } else { 0 };
    let all = past + keys;
    let forms = [vec![], vec![batch], vec![2 * batch], vec![batch, all], vec![batch, rows, all]];
    let dims = &forms[rng.below(forms.len())];
    let most = if dims.len() == 1 { all + 1 } else { 2 };
    let numbers: Vec<usize> = (0..dims.iter().product()).map(|_| rng.below(most)).collect();
    match dims[..] {
        [] => draft.none(),
        _ => draft.constant("mask", "int32", dims, &numbers),
    }
    match rng.chance() {
        true => draft.input("scores", ty, &[rng.of(&[1, batch]), rng.of(&[1, heads]), rows, all]),
        false => draft.none(),
    }
    if past > 0 {
        draft.input("pk", ty, &[batch, heads, past, size]);
        draft.input("pv", ty, &[batch, heads, past, width]);
    }
    draft.outputs.push(format!("{ty}{:?} y", flat(rows, width)));
    if form != 1 && rng.chance() {
        draft.outputs.push(format!("{ty}[{batch},{heads},{all},{size}] nk"));
        draft.outputs.push(format!("{ty}[{batch},{heads},{all},{width}] nv"));
    }
    draft.attribute("num_heads", heads);
    // Where all keys are masked, float32 knows scores as well as they can be told from the filter.
    draft.attribute("mask_filter_value", "-500.0");
    draft.attribute("unidirectional", rng.below(2));
    if rng.chance() {
        draft.attribute("scale", "0.4");
    }
    draft
}

fn group_query(rng: &mut Rng, ty: &str) -> Draft {
    let mut draft = Draft::default();
    let (batch, groups, size) = (rng.of(&[1, 2, 3]), rng.of(&[1, 2]), rng.of(&SIZES));
    let (heads, rows, room) =
        (groups * rng.of(&[1, 2, 3]), rng.of(&[1, 2, 7, 37]), rng.of(&[0, 1, 6, 60, 300]));
    match rng.chance() {
        true => {
            draft.input("q", ty, &[batch, rows, (heads + 2 * groups) * size]);
            draft.pad(3);
        }
        false => {
            draft.input("q", ty, &[batch, rows, heads * size]);
            draft.input("k", ty, &[batch, rows, groups * size]);
            draft.input("v", ty, &[batch, rows, groups * size]);
        }
    }
    draft.input("pk", ty, &[batch, groups, room, size]);
    draft.input("pv", ty, &[batch, groups, room, size]);
    let filled: Vec<usize> = (0..batch).map(|_| rng.below(room + 1)).collect();
    let total = filled.iter().max().unwrap_or(&0) + rows;
    // At a beginning, sequences may end before the rows do.
    let last: Vec<usize> = match total == rows {
        true => (0..batch).map(|_| rng.below(rows)).collect(),
        false => filled.iter().map(|filled| filled + rows - 1).collect(),
    };
    draft.constant("last", "int32", &[batch], &last);
    draft.constant("total", "int32", &[1], &[total]);
    if rng.chance() {
        let half = 1 + rng.below(size / 2);
        draft.input("c", ty, &[total, half]);
        draft.input("s", ty, &[total, half]);
        draft.attribute("do_rotary", 1);
        draft.attribute("rotary_interleaved", rng.below(2));
    }
    if rng.chance() {
        draft.pad(10);
        draft.input("bias", ty, &[rng.of(&[1, batch]), rng.of(&[1, heads]), rows, total + rng.below(5)]);
    }
    match rng.below(3) {
        0 => {
            draft.pad(11);
            draft.input("sinks", ty, &[heads]);
        }
        1 => draft.attribute("smooth_softmax", 1),
        _ => {}
    }
    let length = room.max(total);
    draft.outputs.push(format!("{ty}[{batch},{rows},{}] y", heads * size));
    draft.outputs.extend(["nk", "nv"].map(|name| format!("{ty}[{batch},{groups},{length},{size}] {name}")));
    draft.attribute("num_heads", heads);
    draft.attribute("kv_num_heads", groups);
    match rng.below(3) {
        0 => draft.attribute("local_window_size", rng.of(&[1, 4, 50])),
        1 => draft.attribute("causal", 0),
        _ => {}
    }
    if rng.chance() {
        draft.attribute("softcap", "1.5");
    }
    draft
}

fn all_agree(op: &str, made: fn(&mut Rng, &str) -> Draft) {
    let failed: Vec<String> = (0..MODELS)
        .filter_map(|seed| {
            let mut rng = Rng(seed);
            let (ty, tolerance) = rng.of(&TYPES);
            let text = made(&mut rng, ty).text(op);
            let words = ["--rtol", tolerance].map(str::to_owned).into_iter();
            Some(format!("--- {seed}\n{text}\n{}", launches(&text, words).err()?))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn multi_head_attention_at_random() {
    all_agree("MultiHeadAttention", multi_head);
}

#[test]
fn group_query_attention_at_random() {
    all_agree("GroupQueryAttention", group_query);
}
