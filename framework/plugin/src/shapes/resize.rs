//! How large Resize and Upsample make a tensor.

use serde::{Deserialize, Serialize};

use crate::sdk::{Node, Region};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scaling {
    By(Vec<f32>),
    To(Vec<i64>),
}

impl Scaling {
    /// What Resize or Upsample does with every axis; `None` where only running tells, or it is about some axes.
    pub fn of(region: &Region<'_>, node: &Node<'_>) -> Option<Scaling> {
        let rank = region.input(node, 0)?.rank()?;
        if node.attr_ints("axes").is_some() {
            return None;
        }
        let sizes = region.input(node, 3).and_then(|value| value.constant_as::<i64>());
        if let Some(sizes) = sizes.filter(|sizes| sizes.len() == rank) {
            return Some(Scaling::To(sizes.to_vec()));
        }
        let floats = |i: usize| region.input(node, i).and_then(|value| value.constant_as::<f32>());
        let given = [floats(1), floats(2), node.attr_floats("scales")];
        let scales = given.into_iter().flatten().find(|scales| scales.len() == rank)?;
        Some(Scaling::By(scales.to_vec()))
    }

    /// The sizes that `dims` become; `None` where a scale does not lead to a whole number.
    pub fn apply(&self, dims: &[i64]) -> Option<Vec<i64>> {
        let scaled = |(&dim, &scale): (&i64, &f32)| {
            let exact = dim as f32 * scale;
            (exact.fract() == 0.0).then_some(exact as i64)
        };
        let sizes = match self {
            Scaling::To(sizes) => sizes.clone(),
            Scaling::By(scales) => dims.iter().zip(scales).map(scaled).collect::<Option<Vec<_>>>()?,
        };
        (sizes.len() == dims.len()).then_some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_lead_to_whole_sizes_or_to_none() {
        assert_eq!(Scaling::By(vec![1.0, 2.0]).apply(&[3, 5]), Some(vec![3, 10]));
        assert_eq!(Scaling::By(vec![1.0, 1.5]).apply(&[3, 5]), None);
        assert_eq!(Scaling::To(vec![7, 9]).apply(&[3, 5]), Some(vec![7, 9]));
        assert_eq!(Scaling::To(vec![7]).apply(&[3, 5]), None);
    }
}
