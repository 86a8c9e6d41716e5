//! What a pattern's clauses speak of: numbers, texts and attributes, which are worth trying.

use byoc_graph::DType;
use byoc_plugin::table::Pattern;
use regex::Regex;

/// Sizes of dimensions, from simple to large.
const SIZES: [usize; 8] = [2, 1, 3, 4, 5, 7, 8, 16];
/// No dimension that a clause speaks of is tried beyond this.
const LARGEST: usize = 1024;
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
    pub dtypes: Vec<DType>,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    pub texts: Vec<String>,
    /// Names and attributes of `name.attr.attribute`.
    attributes: Vec<(String, String)>,
    names: Vec<String>,
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
        Words {
            sizes: sizes(&ints),
            dtypes: unique(named.into_iter().chain(DTYPES)),
            floats: found(r"\d+\.\d+").iter().filter_map(|c| c[0].parse().ok()).collect(),
            attributes: found(r"(\w+)\.attr\.(\w+)")
                .into_iter()
                .map(|c| (c[1].clone(), c[2].clone()))
                .collect(),
            names: found(r"(\w+)\.\w+").into_iter().map(|c| c[1].clone()).collect(),
            ints,
            texts,
        }
    }

    /// Whether a clause speaks of what this name is bound to.
    pub fn speak_of(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
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
