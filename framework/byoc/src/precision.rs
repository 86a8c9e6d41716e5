//! What keeping weights in fewer bits costs: outputs beside those in f32.

use byoc_graph::{Datum, Tensor};
use serde::Serialize;

use crate::quantize::Distance;

/// How far an output is from the one in f32.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputError {
    pub output: String,
    pub elements: usize,
    pub max_abs: f64,
    /// Of elements of at least a hundredth of the largest.
    pub max_rel: f64,
    pub cosine: f64,
    /// The share of rows whose largest element is the same one, where rows look like scores of classes or tokens.
    pub top1: Option<f64>,
}

/// Rows of fewer elements are no scores of classes.
const CLASSES: usize = 10;

/// Compares outputs that are tensors of numbers; `want` are those in f32.
pub fn errors(want: &[(String, Datum)], got: &[(String, Datum)]) -> Vec<OutputError> {
    let one = |((name, want), (_, got)): (&(String, Datum), &(String, Datum))| {
        let (want, got) = (want.as_tensor()?, got.as_tensor()?);
        error(name, want, got)
    };
    want.iter().zip(got).filter_map(one).collect()
}

fn error(name: &str, want: &Tensor, got: &Tensor) -> Option<OutputError> {
    let (a, b) = (want.to_f64s()?, got.to_f64s()?);
    (want.dims() == got.dims()).then_some(())?;
    let (mut distance, mut max_abs, mut max_rel) = (Distance::default(), 0f64, 0f64);
    let largest = a.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    for (&x, &y) in a.iter().zip(&b) {
        // What is lost altogether is infinitely far away.
        let apart = if x == y || x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() };
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        max_abs = max_abs.max(apart);
        if x != 0.0 && x.abs() >= largest / 100.0 {
            max_rel = max_rel.max(apart / x.abs());
        }
        distance.add(x, y);
    }
    Some(OutputError {
        output: name.to_owned(),
        elements: a.len(),
        max_abs,
        max_rel,
        cosine: distance.cosine(),
        top1: top1(want, &a, &b),
    })
}

fn top1(want: &Tensor, a: &[f64], b: &[f64]) -> Option<f64> {
    let width = *want.dims().last()?;
    let is_scores = want.dtype().is_float() && (2..=3).contains(&want.rank()) && width >= CLASSES;
    (is_scores && !a.is_empty()).then_some(())?;
    let best = |row: &[f64]| (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best });
    let same = a.chunks(width).zip(b.chunks(width)).filter(|(a, b)| best(a) == best(b)).count();
    Some(same as f64 / (a.len() / width) as f64)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn floats(dims: &[usize], values: Vec<f32>) -> (String, Datum) {
        ("y".into(), Tensor::from_vec(dims, values).expect("sized").into())
    }

    #[test]
    fn errors_are_of_the_worst_element() {
        let (want, got) = (floats(&[3], vec![4.0, -0.001, 2.0]), floats(&[3], vec![4.5, 0.001, 1.5]));
        let found = &errors(from_ref(&want), &[got])[0];
        // The second element is too small for its own error to count.
        assert_eq!((found.max_abs, found.max_rel, found.top1), (0.5, 0.25, None));
        assert!(found.cosine > 0.98 && found.cosine < 1.0);
        let same = &errors(from_ref(&want), from_ref(&want))[0];
        assert_eq!((same.max_abs, same.max_rel), (0.0, 0.0));
        assert!((same.cosine - 1.0).abs() < 1e-12);
    }

    #[test]
    fn scores_agree_by_their_largest() {
        let row = |at: usize| (0..12).map(move |i| if i == at { 1.0 } else { 0.1 * i as f32 / 12.0 });
        let want = floats(&[2, 12], row(3).chain(row(5)).collect());
        let got = floats(&[2, 12], row(3).chain(row(6)).collect());
        assert_eq!(errors(&[want], &[got])[0].top1, Some(0.5));
    }

    #[test]
    fn what_is_no_number_any_more_is_told() {
        let (want, got) = (floats(&[2], vec![1.0, 2.0]), floats(&[2], vec![1.0, f32::NAN]));
        assert_eq!(errors(&[want], &[got])[0].max_abs, f64::INFINITY);
    }
}
