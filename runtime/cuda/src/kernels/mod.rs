//! One file for each family of kernels: a description, and the CUDA C that it becomes.

pub mod attention;
pub mod cache;
mod epilogue;
pub mod gather;
pub mod heads;
pub mod map;
pub mod moves;
pub mod product;
pub mod resize;
pub mod row;
mod transpose;
mod vectors;
mod ways;
pub mod window;

use crate::pointwise::Pointwise;

/// Longest name of a kernel.
const LONGEST_NAME: usize = 60;

/// A kernel's name, for people and profilers: its family and the operators in it.
fn name(family: &str, tail: &Pointwise) -> String {
    let names = tail.names().into_iter().map(|name| format!("_{}", name.replace(':', "_").to_lowercase()));
    let mut whole: String = std::iter::once(family.to_owned()).chain(names).collect();
    whole.truncate(LONGEST_NAME);
    whole
}

/// Where a kernel puts element `index` of its output, once `fresh` is known.
fn store(tail: &Pointwise, index: &str, indent: &str) -> byoc_plugin::Result<String> {
    let (statements, value) = tail.statements(index, indent)?;
    Ok(format!("{statements}{indent}st(y + {index}, {value});\n"))
}
