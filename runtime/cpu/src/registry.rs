//! Which kernel runs a node: entries by operator, opset and element type, tried by priority.

use std::collections::HashMap;

use byoc_graph::DType;

use crate::kernel::{Kernel, NodeDesc};
use crate::kernels;

/// One way of running some operators.
pub struct Entry {
    /// What profiles call it.
    pub name: &'static str,
    pub domain: &'static str,
    pub ops: &'static [&'static str],
    /// First opset of the domain that it is for.
    pub since: i64,
    /// Element types of the first input; any where empty.
    pub dtypes: &'static [DType],
    /// Higher is asked first; the reference has `i32::MIN`.
    pub priority: i32,
    /// `None` where it cannot run this node.
    pub prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
}

/// A kernel and the entry it came from.
pub struct Prepared {
    pub name: &'static str,
    pub kernel: Box<dyn Kernel>,
}

/// All kernels there are to choose from.
pub struct Registry {
    entries: HashMap<(&'static str, &'static str), Vec<&'static Entry>>,
    reference: bool,
}

impl Default for Registry {
    /// Every kernel of this crate.
    fn default() -> Registry {
        let mut registry = Registry::reference();
        kernels::ALL.iter().copied().flatten().for_each(|entry| registry.add(entry));
        registry
    }
}

impl Registry {
    /// Nothing but the reference kernels.
    pub fn reference() -> Registry {
        Registry { entries: HashMap::new(), reference: true }
    }

    /// Adds an entry, behind those of the same priority.
    pub fn add(&mut self, entry: &'static Entry) {
        for op in entry.ops {
            let entries = self.entries.entry((entry.domain, op)).or_default();
            let at = entries.partition_point(|e| e.priority >= entry.priority);
            entries.insert(at, entry);
        }
    }

    /// The entries for an operator, in the order in which they are asked; the reference is not among them.
    pub fn entries<'a>(&'a self, domain: &'a str, op: &'a str) -> &'a [&'static Entry] {
        self.entries.get(&(domain, op)).map_or(&[], Vec::as_slice)
    }

    /// The best kernel for a node, or `None` where no kernel knows the operator.
    pub fn prepare(&self, node: &NodeDesc<'_>) -> Option<Prepared> {
        let entries = self.entries(node.domain(), node.op());
        let dtype = node.dtype(0);
        let suits = |e: &Entry| {
            e.since <= node.opset() && (e.dtypes.is_empty() || dtype.is_some_and(|d| e.dtypes.contains(&d)))
        };
        let fast = entries.iter().filter(|e| suits(e)).find_map(|e| {
            let kernel = (e.prepare)(node)?;
            Some(Prepared { name: e.name, kernel })
        });
        fast.or_else(|| {
            let kernel = self.reference.then(|| kernels::reference::prepare(node)).flatten()?;
            Some(Prepared { name: "reference", kernel })
        })
    }
}
