//! The CUDA C of an attention, one source for each way in which it is done.

use byoc_plugin::{DType, Result};

use super::{Attention, First, Lengths, Mask, Padding, Sink, Way};
use crate::kernel::Source;
use crate::types;

const KEYS: &str = "\
#define KEY(x, key, d) ITEM(x, head, key, d)
#define ROW(x, key) KEY(x, key, 0)
";
/// Keys of the past lie in a tensor of their own, and so do values.
const KEYS_BEHIND_PAST: &str = "\
#define KEY(x, key, d) ((key) < span.past ? ITEM(past_##x, head, key, d) : ITEM(x, head, (key) - span.past, d))
#define ROW(x, key) KEY(x, key, 0)
";

impl Attention {
    pub(super) fn write(&self, way: Way) -> Result<Source> {
        match way {
            Way::Join => self.write_join(),
            Way::Plain(size) => {
                let lines = include_str!("lines.cuh");
                self.write_main(way, &format!("attention{size}"), size, lines, include_str!("plain.cuh"))
            }
            Way::Cores(size) => {
                let lines = include_str!("bits.cuh").to_owned() + &self.mma();
                let body = include_str!("cores.cuh");
                self.write_main(way, &format!("attention_cores{size}"), size, &lines, body)
            }
        }
    }

    /// What all sources begin with.
    fn head(&self) -> Result<String> {
        let of = types::of(self.dtype)?;
        let whole = match self.sink {
            None => "(sum)",
            Some(Sink::Zero) => "((sum) + exp(-(most)))",
            Some(Sink::ByHead(_)) => "((sum) + exp((T)ld(&sinks[h]) - (most)))",
        };
        Ok(format!(
            "typedef {} T;\ntypedef {} E;\n{}{}// What weights are divided by.\n#define WHOLE(sum, most, h) {whole}\n",
            of.computed,
            of.stored,
            super::super::vectors::HELPER,
            include_str!("common.cuh"),
        ))
    }

    fn write_join(&self) -> Result<Source> {
        let mut arguments = vec!["const T* __restrict__ parts".to_owned()];
        if let Some(Sink::ByHead(dtype)) = self.sink {
            arguments.push(address(types::of(dtype)?.stored, "sinks"));
        }
        arguments.push("E* __restrict__ y".into());
        arguments.extend(["n", "count"].map(|number| format!("const u32 {number}")));
        arguments.extend(["Heads y_lies", "Sight a"].map(|s| format!("const __grid_constant__ {s}")));
        let source = Source::new("attention_join".into(), &arguments, include_str!("join.cuh"));
        Ok(Source { text: self.head()? + &source.text, ..source })
    }

    fn write_main(&self, way: Way, name: &str, size: usize, lines: &str, body: &str) -> Result<Source> {
        let keys = if self.past.is_some() { KEYS_BEHIND_PAST } else { KEYS };
        let helper = format!("{}enum {{ SIZE = {size} }};\n{keys}{lines}", self.head()?);
        let mut arguments: Vec<String> = ["q", "k", "v"].map(|name| address("E", name)).into();
        for (name, dtype) in self.further() {
            arguments.push(address(types::of(dtype)?.stored, name));
        }
        arguments.push("E* __restrict__ y".into());
        arguments.extend(matches!(way, Way::Plain(_)).then(|| "T* parts".into()));
        arguments.extend(["batches", "each", "wide"].map(|number| format!("const u32 {number}")));
        let past: &[&str] = if self.past.is_some() { &["past_k", "past_v"] } else { &[] };
        for name in ["q", "k", "v"].iter().chain(past).chain(&["y"]) {
            arguments.push(format!("const __grid_constant__ Heads {name}_lies"));
        }
        arguments.push("const __grid_constant__ Sight a".into());
        let body = body.replace("MASK", &self.masking()).replace("SPAN", &self.span());
        let source = Source::new(name.into(), &arguments, &body);
        Ok(Source { text: helper + &source.text, ..source })
    }

    fn mma(&self) -> String {
        let [narrow, mma] = match self.dtype {
            DType::F16 => ["float_to_half", "mma_half"],
            _ => ["float_to_brain", "mma_brain"],
        };
        format!(
            "{}#define MMA {mma}\n__device__ inline u32 both(float low, float high) {{\n    \
             return {narrow}(low) | (u32){narrow}(high) << 16;\n}}\n",
            super::super::product::TENSOR_HELPER
        )
    }

    /// What masks make of a score.
    fn masking(&self) -> String {
        let mut lines = Vec::new();
        if let Some((kind, _)) = self.mask {
            let at = "mask[batch * a.mask_batch + h * a.mask_head + row * a.mask_row + key * a.mask_column]";
            let applied = match kind {
                Mask::Added => format!("s += (T)ld(&{at})"),
                Mask::Filled(_) => format!("s = ld(&{at}) ? s : (T)a.fill"),
            };
            lines.push("if (key >= a.columns) s = (T)(-1.0 / 0.0);".to_owned());
            lines.push(format!("else {applied};"));
        }
        let hidden = self.padding.as_ref().map(|padding| match padding {
            Padding::Ends => {
                "(int)key >= padding[batch] || a.padding_row > 0 && (int)key < padding[a.padding_row + batch]"
            }
            Padding::Keys => "padding[batch * a.padding_batch + row * a.padding_row + key] <= 0",
        });
        lines.extend(hidden.map(|hidden| format!("if ({hidden}) s += (T)a.masked;")));
        lines.iter().map(|line| format!("{}{line}\n", " ".repeat(20))).collect()
    }

    /// What of the keys a sequence has, as the struct `Span`.
    fn span(&self) -> String {
        match self.lengths {
            None => return "{(int)a.keys, a.place, a.past}".into(),
            Some(Lengths::Filled(_)) => {
                let past = "filled(lengths[batch], total[0], a.rows, a.past)";
                return format!("{{(int)({past} + a.rows), (int){past}, {past}}}");
            }
            Some(Lengths::Keys(_)) => {}
        }
        let end = "(int)smaller_of((long long)lengths[batch], (long long)a.keys)";
        let place = "(int)lengths[batch] - (int)a.rows";
        match self.first {
            First::BehindPast => format!("{{{end}, a.past > 0 ? (int)a.past : {place}, a.past}}"),
            _ => format!("{{{end}, {place}, a.past}}"),
        }
    }
}

fn address(ty: &str, name: &str) -> String {
    format!("const {ty}* __restrict__ {name}")
}
