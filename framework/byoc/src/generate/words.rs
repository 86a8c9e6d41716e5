//! What a pattern's clauses speak of: numbers, texts and attributes, which are worth trying.

use byoc_graph::DType;
use byoc_plugin::table::Pattern;
use regex::Regex;

/// Sizes of dimensions, from simple to large.
const SIZES: [usize; 8] = [2, 1, 3, 4, 5, 7, 8, 16];
/// No dimension that a clause speaks of is tried beyond this.
const LARGEST: usize = 1024;
/// Nor a rank.
const MOST_RANK: usize = 6;
/// Element types in the order in which they are tried where no clause names one.
const DTYPES: [DType; 14] = [
    DType::F32,
    DType::I8,
    DType::U8,
    DType::F16,
    DType::I32,
    DType::I64,
    DType::Bool,
    DType::F64,
    DType::BF16,
    DType::I16,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::I4,
];

#[derive(Debug, Default)]
pub struct Words {
    pub sizes: Vec<usize>,
    /// Ranks that clauses tell apart.
    ranks: Vec<usize>,
    /// Versions of operators that clauses tell apart.
    pub opsets: Vec<i64>,
    pub dtypes: Vec<DType>,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    pub texts: Vec<String>,
    /// Names of symbolic dimensions.
    pub symbols: Vec<String>,
    /// Names and attributes of `name.attr.attribute`.
    attributes: Vec<(String, String)>,
    names: Vec<String>,
    /// Names of which clauses ask what they hold.
    asked: Vec<String>,
    /// Names of which clauses ask the rank.
    ranked: Vec<String>,
}

impl Words {
    pub fn of(pattern: &Pattern) -> Words {
        let text: String = pattern.where_.iter().map(|c| format!("{}\n", c.text)).collect();
        let found = |expression: &str| -> Vec<Vec<String>> {
            let expression = Regex::new(expression).expect("a constant");
            let group = |c: regex::Captures<'_>| {
                c.iter().flatten().map(|m| m.as_str().to_owned()).collect::<Vec<_>>()
            };
            expression.captures_iter(&text).map(group).collect()
        };
        let texts: Vec<String> =
            found(r#"'([^']*)'|"([^"]*)""#).into_iter().map(|mut c| c.remove(1)).collect();
        let ints: Vec<i64> = found(r"\d+").iter().filter_map(|c| c[0].parse().ok()).collect();
        let named = texts.iter().filter_map(|t| DType::from_name(t));
        let named: Vec<DType> = named.filter(|t| t.name() != "string").collect();
        let speaks = |of: &str| text.contains(of);
        let around: Vec<i64> = ints.iter().flat_map(|n| [*n, n + 1, n - 1]).collect();
        let ranks = around.iter().filter_map(|n| usize::try_from(*n).ok()).filter(|n| *n <= MOST_RANK);
        let is_shaped = speaks(".rank") || speaks(".shape");
        Words {
            sizes: sizes(&ints),
            ranks: if is_shaped { unique(ranks) } else { Vec::new() },
            symbols: found(r#"\.shape\[[^\]]*\]\s*[!=]=\s*['"](\w+)['"]"#)
                .into_iter()
                .map(|mut c| c.remove(1))
                .collect(),
            opsets: if speaks(".opset") { unique(around.iter().copied()) } else { Vec::new() },
            dtypes: unique(named.into_iter().chain(DTYPES)),
            floats: found(r"\d+\.\d+").iter().filter_map(|c| c[0].parse().ok()).collect(),
            attributes: found(r"(\w+)\.attr\.(\w+)")
                .into_iter()
                .map(|c| (c[1].clone(), c[2].clone()))
                .collect(),
            names: found(r"(\w+)\.\w+").into_iter().map(|c| c[1].clone()).collect(),
            ranked: found(r"(\w+)\.rank\b").into_iter().map(|c| c[1].clone()).collect(),
            asked: found(r"(\w+)\.value\b").into_iter().map(|c| c[1].clone()).collect(),
            ints,
            texts,
        }
    }

    /// The usual ranks, and those that clauses tell apart and that are not below `least`.
    pub fn ranks(&self, usual: &[usize], least: usize) -> Vec<usize> {
        unique(usual.iter().chain(&self.ranks).copied().filter(|rank| *rank >= least))
    }

    /// Numbers that a constant of this name may be full of, where a clause asks what it holds.
    pub fn fillings(&self, name: &str) -> Vec<f64> {
        let whole = self.ints.iter().map(|n| *n as f64);
        let spoken = whole.chain(self.floats.iter().map(|x| f64::from(*x)));
        let is_asked = self.asked.iter().any(|n| n == name);
        let around = spoken.filter(|_| is_asked).flat_map(|x| [x, -x, x + 1.0, x - 1.0]);
        unique(around)
    }

    /// Whether a clause asks the rank of what this name is bound to.
    pub fn ask_rank(&self, name: &str) -> bool {
        self.ranked.iter().any(|n| n == name)
    }

    /// Whether a clause speaks of what this name is bound to.
    pub fn speak_of(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Whether a clause speaks of an attribute of this name, of whatever node.
    pub fn mention_any(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|(_, a)| a == attribute)
    }

    /// Whether a clause speaks of this attribute of the node that makes `name`.
    pub fn mention(&self, name: &str, attribute: &str) -> bool {
        self.attributes.iter().any(|(n, a)| n == name && a == attribute)
    }
}

/// The usual sizes, and around each number of a clause those that are on either side of it.
fn sizes(ints: &[i64]) -> Vec<usize> {
    let spoken = ints.iter().filter_map(|&n| usize::try_from(n).ok());
    let around = spoken.flat_map(|n| [n, n + 1, n.saturating_sub(1), n * 2]);
    unique(SIZES.into_iter().chain(around.filter(|n| (1..=LARGEST).contains(n))))
}

fn unique<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
