//! Which kernel computes which operator.

use std::collections::HashMap;
use std::sync::LazyLock;

use byoc_graph::schema;

use super::call::Kernel;

/// A kernel, and from which version of the operator's domain on it holds.
pub struct Entry {
    pub domain: &'static str,
    pub name: &'static str,
    pub since: i64,
    pub kernel: Kernel,
}

const fn entry(domain: &'static str, name: &'static str, since: i64, kernel: Kernel) -> Entry {
    Entry { domain, name, since, kernel }
}

/// An operator of the default domain.
pub(super) const fn onnx(name: &'static str, since: i64, kernel: Kernel) -> Entry {
    entry("", name, since, kernel)
}

/// An operator of classical machine learning.
pub(super) const fn ml(name: &'static str, since: i64, kernel: Kernel) -> Entry {
    entry("ai.onnx.ml", name, since, kernel)
}

/// An operator that the standard tries out.
pub(super) const fn preview(name: &'static str, since: i64, kernel: Kernel) -> Entry {
    entry("ai.onnx.preview", name, since, kernel)
}

/// An operator of training that the standard tries out.
pub(super) const fn training(name: &'static str, since: i64, kernel: Kernel) -> Entry {
    entry("ai.onnx.preview.training", name, since, kernel)
}

/// An operator that ONNX Runtime added.
pub(super) const fn contrib(name: &'static str, kernel: Kernel) -> Entry {
    entry("com.microsoft", name, 1, kernel)
}

/// Every kernel, by family.
static FAMILIES: &[&[Entry]] = super::FAMILIES;

type Index = HashMap<(&'static str, &'static str), Vec<&'static Entry>>;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index::new();
    for entry in all() {
        index.entry((entry.domain, entry.name)).or_default().push(entry);
    }
    index
});

pub fn all() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// The kernel of an operator at an opset version of its domain.
pub fn lookup(domain: &str, op: &str, opset: i64) -> Option<Kernel> {
    let entries = INDEX.get(&(schema::canonical_domain(domain), op))?;
    let fitting = entries.iter().filter(|e| e.since <= opset);
    fitting.max_by_key(|e| e.since).map(|e| e.kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_of_a_known_operator() {
        for entry in all() {
            assert!(schema::exists(entry.domain, entry.name), "{}.{}", entry.domain, entry.name);
        }
    }

    #[test]
    fn the_newest_fitting_version_is_found() {
        assert!(lookup("", "Relu", 6).is_some());
        assert!(lookup("ai.onnx", "Relu", 6).is_some());
        assert!(lookup("", "Round", 10).is_none());
        assert!(lookup("", "NoSuchOperator", 20).is_none());
    }
}
