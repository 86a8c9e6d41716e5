//! Comparing what came out with what should have: |got − want| ≤ atol + rtol·|want| + atol-scale·max|want|.

use std::fmt;

use byoc_graph::{Datum, MapKeys, Tensor};

/// How far a result may be from its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
    /// A share of the largest reference value that is allowed as well.
    pub atol_scale: f64,
    /// Steps of the output's quantisation that are allowed; of an integer output, units.
    pub quanta: u64,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance { rtol: 1e-3, atol: 1e-5, atol_scale: 0.0, quanta: 0 }
    }
}

/// How far one output is from its reference, measured in allowances.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Within tolerance; the worst element used this share of its allowance.
    Within {
        worst: f64,
    },
    Off(Mismatch),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    Kind { got: String, want: String },
    Element { at: Vec<usize>, got: String, want: String, off: usize, of: usize },
}

impl Verdict {
    pub fn is_within(&self) -> bool {
        matches!(self, Verdict::Within { .. })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Kind { got, want } => write!(f, "got {got}, want {want}"),
            Mismatch::Element { at, got, want, off, of } => {
                let share = if *of > 0 { 100.0 * *off as f64 / *of as f64 } else { 0.0 };
                write!(
                    f,
                    "worst at {at:?}: got {got}, want {want}; {off} of {of} elements ({share:.1} %) are off"
                )
            }
        }
    }
}

/// Compares two values of any kind. `step` is the step of the output's quantisation, where it has one.
pub fn compare(got: &Datum, want: &Datum, tolerance: &Tolerance, step: Option<f64>) -> Verdict {
    let step = step.unwrap_or(0.0);
    compare_data(got, want, tolerance, step)
}

fn compare_data(got: &Datum, want: &Datum, tolerance: &Tolerance, step: f64) -> Verdict {
    match (got, want) {
        (Datum::Tensor(a), Datum::Tensor(b)) => compare_tensors(a, b, tolerance, step),
        (Datum::Sequence { items: a, .. }, Datum::Sequence { items: b, .. }) if a.len() == b.len() => {
            worst(a.iter().zip(b).map(|(a, b)| compare_data(a, b, tolerance, step)))
        }
        (Datum::Optional { value: a, .. }, Datum::Optional { value: b, .. }) => match (a, b) {
            (Some(a), Some(b)) => compare_data(a, b, tolerance, step),
            (None, None) => Verdict::Within { worst: 0.0 },
            _ => kinds(got, want),
        },
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => match reorder(a, b) {
            Some(order) => {
                worst(order.into_iter().zip(y).map(|(i, y)| compare_data(&x[i], y, tolerance, step)))
            }
            None => kinds(got, want),
        },
        // An optional with a value may come as the value itself.
        (a, Datum::Optional { value: Some(b), .. }) => compare_data(a, b, tolerance, step),
        _ => kinds(got, want),
    }
}

/// For each key of `want`, where it is in `got`; `None` where the sets of keys differ.
fn reorder(got: &MapKeys, want: &MapKeys) -> Option<Vec<usize>> {
    match (got, want) {
        (MapKeys::Ints(_, a), MapKeys::Ints(_, b)) if a.len() == b.len() => {
            b.iter().map(|k| a.iter().position(|x| x == k)).collect()
        }
        (MapKeys::Strings(a), MapKeys::Strings(b)) if a.len() == b.len() => {
            b.iter().map(|k| a.iter().position(|x| x == k)).collect()
        }
        _ => None,
    }
}

fn kinds(got: &Datum, want: &Datum) -> Verdict {
    let describe = |d: &Datum| match d {
        Datum::Tensor(t) => t.ty().to_string(),
        Datum::Sequence { items, .. } => format!("sequence of {}", items.len()),
        Datum::Optional { value: None, .. } => "an empty optional".to_owned(),
        other => other.kind().to_owned(),
    };
    Verdict::Off(Mismatch::Kind { got: describe(got), want: describe(want) })
}

fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let mut worst = 0.0f64;
    for verdict in verdicts {
        match verdict {
            Verdict::Within { worst: w } => worst = worst.max(w),
            off => return off,
        }
    }
    Verdict::Within { worst }
}

fn compare_tensors(got: &Tensor, want: &Tensor, tolerance: &Tolerance, step: f64) -> Verdict {
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        let (got, want) = (got.ty().to_string(), want.ty().to_string());
        return Verdict::Off(Mismatch::Kind { got, want });
    }
    if let (Some(a), Some(b)) = (got.strings(), want.strings()) {
        let text = |s: &bytes::Bytes| format!("{:?}", String::from_utf8_lossy(s));
        let off = (0..a.len()).filter(|&i| a[i] != b[i]).collect();
        return exact(want, off, |i| (text(&a[i]), text(&b[i])));
    }
    match (got.to_f64s(), want.to_f64s()) {
        (Some(a), Some(b)) => compare_numbers(want, &a, &b, tolerance, step),
        // Types without a conversion are equal bit for bit or not at all.
        _ if got.same(want) => Verdict::Within { worst: 0.0 },
        _ => exact(want, vec![0], |_| ("other bits".into(), "these bits".into())),
    }
}

fn compare_numbers(want: &Tensor, a: &[f64], b: &[f64], tolerance: &Tolerance, step: f64) -> Verdict {
    let largest = b.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
    let base = if want.dtype().is_integer() {
        tolerance.quanta as f64
    } else {
        tolerance.atol + tolerance.atol_scale * largest + tolerance.quanta as f64 * step
    };
    let rtol = if want.dtype().is_float() { tolerance.rtol } else { 0.0 };
    let (mut worst, mut at, mut off) = (0f64, 0, 0);
    for (i, (&got, &want)) in a.iter().zip(b).enumerate() {
        let share = share_of_allowance(got, want, base + rtol * want.abs());
        if share > worst {
            (worst, at) = (share, i);
        }
        off += usize::from(share > 1.0);
    }
    if worst <= 1.0 {
        return Verdict::Within { worst };
    }
    let (got, wanted) = (a[at].to_string(), b[at].to_string());
    Verdict::Off(Mismatch::Element { at: index(want.dims(), at), got, want: wanted, off, of: a.len() })
}

fn share_of_allowance(got: f64, want: f64, allowance: f64) -> f64 {
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    let error = (got - want).abs();
    if error.is_finite() && allowance > 0.0 { error / allowance } else { f64::INFINITY }
}

fn exact(want: &Tensor, off: Vec<usize>, show: impl Fn(usize) -> (String, String)) -> Verdict {
    let Some(&first) = off.first() else { return Verdict::Within { worst: 0.0 } };
    let (got, wanted) = show(first);
    let at = index(want.dims(), first);
    Verdict::Off(Mismatch::Element { at, got, want: wanted, off: off.len(), of: want.len() })
}

/// The multi-dimensional index of a flat one.
fn index(dims: &[usize], flat: usize) -> Vec<usize> {
    let mut left = flat;
    let mut at: Vec<usize> = dims.iter().rev().map(|&d| (left % d.max(1), left /= d.max(1)).0).collect();
    at.reverse();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Datum {
        Tensor::from_vec(&[values.len()], values.to_vec()).unwrap().into()
    }

    #[test]
    fn the_worst_element_is_named() {
        let verdict =
            compare(&floats(&[1.0, 2.5, 9.0]), &floats(&[1.0, 2.0, 3.0]), &Tolerance::default(), None);
        let Verdict::Off(Mismatch::Element { at, off, of, .. }) = verdict else { panic!("{verdict:?}") };
        assert_eq!((at, off, of), (vec![2], 2, 3));
    }

    #[test]
    fn not_a_number_equals_itself_and_nothing_else() {
        let nan = floats(&[f32::NAN]);
        assert!(compare(&nan, &nan, &Tolerance::default(), None).is_within());
        assert!(!compare(&nan, &floats(&[0.0]), &Tolerance::default(), None).is_within());
        assert!(
            !compare(&floats(&[0.0]), &floats(&[f32::INFINITY]), &Tolerance::default(), None).is_within()
        );
    }

    #[test]
    fn integers_are_exact_but_for_quanta() {
        let (a, b) = (Tensor::scalar(5u8).into(), Tensor::scalar(6u8).into());
        assert!(!compare(&a, &b, &Tolerance::default(), None).is_within());
        assert!(compare(&a, &b, &Tolerance { quanta: 1, ..Tolerance::default() }, None).is_within());
    }

    #[test]
    fn a_quantised_output_may_be_steps_off() {
        let one = Tolerance { quanta: 1, ..Tolerance::default() };
        assert!(compare(&floats(&[1.5]), &floats(&[1.0]), &one, Some(0.5)).is_within());
        assert!(!compare(&floats(&[1.5]), &floats(&[1.0]), &one, None).is_within());
    }

    #[test]
    fn shapes_have_to_agree() {
        let verdict = compare(&floats(&[1.0]), &floats(&[1.0, 1.0]), &Tolerance::default(), None);
        assert!(matches!(verdict, Verdict::Off(Mismatch::Kind { .. })));
    }
}
