//! Linear models of classical machine learning, and the scores that all classifiers share.

use byoc_graph::{DType, Tensor};
use bytes::Bytes;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::matmul::{product, transposed};
use super::numbers::{self, from_floats};
use super::reduce::softmax_lane;
use super::registry::{Entry, ml};
use super::special::sigmoid;

pub(super) const OPS: &[Entry] =
    &[ml("LinearClassifier", 1, linear_classifier), ml("LinearRegressor", 1, linear_regressor)];

/// The input as rows of features.
pub(super) fn rows(tensor: &Tensor) -> Result<(Vec<f64>, usize, usize), Fault> {
    let (n, features) = match *tensor.dims() {
        [features] => (1, features),
        [n, features] => (n, features),
        ref dims => return Err(invalid!("rows of features are needed, not {dims:?}")),
    };
    Ok((numbers::floats(tensor)?, n, features))
}

/// Names or numbers of classes.
pub(super) enum Labels {
    Strings(Vec<Bytes>),
    Ints(Vec<i64>),
}

impl Labels {
    pub fn of(call: &Call<'_>, strings: &str, ints: &str) -> Result<Labels, Fault> {
        match call.texts_opt(strings)? {
            Some(labels) if !labels.is_empty() => Ok(Labels::Strings(labels)),
            _ => Ok(Labels::Ints(call.ints_opt(ints)?.unwrap_or_default())),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Labels::Strings(labels) => labels.len(),
            Labels::Ints(labels) => labels.len(),
        }
    }

    /// The labels at these places, as a tensor of rank 1.
    pub fn at(&self, places: &[usize]) -> Result<Tensor, Fault> {
        ensure!(places.iter().all(|&p| p < self.len()), "there are {} labels only", self.len());
        Ok(match self {
            Labels::Strings(l) => {
                Tensor::from_strings(&[places.len()], places.iter().map(|&p| l[p].clone()).collect())?
            }
            Labels::Ints(l) => {
                Tensor::from_vec(&[places.len()], places.iter().map(|&p| l[p]).collect::<Vec<_>>())?
            }
        })
    }
}

/// The inverse of the normal distribution function (Winitzki's approximation of the inverse of erf).
fn probit(x: f64) -> f64 {
    let y = 2.0 * x - 1.0;
    let log = (1.0 - y * y).ln();
    let a = 2.0 / (std::f64::consts::PI * 0.147) + log / 2.0;
    std::f64::consts::SQRT_2 * y.signum() * ((a * a - log / 0.147).sqrt() - a).sqrt()
}

/// Attribute `post_transform`, applied to the scores of one row.
pub(super) fn post_transform(call: &Call<'_>, scores: Vec<f64>) -> Result<Vec<f64>, Fault> {
    Ok(match call.text("post_transform")? {
        "NONE" => scores,
        "LOGISTIC" => scores.into_iter().map(sigmoid).collect(),
        "PROBIT" => scores.into_iter().map(probit).collect(),
        "SOFTMAX" => softmax_lane(&scores),
        "SOFTMAX_ZERO" => {
            // Scores of zero stay out of it.
            let kept: Vec<f64> = scores.iter().copied().filter(|&x| x != 0.0).collect();
            let mut powers = softmax_lane(&kept).into_iter();
            scores.into_iter().map(|x| if x != 0.0 { powers.next().unwrap_or(0.0) } else { 0.0 }).collect()
        }
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "post_transform".into(), why });
        }
    })
}

/// The first of the greatest.
pub(super) fn greatest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// Scores `[rows, targets]` of a linear model with coefficients `[targets, features]`.
fn linear_scores(call: &Call<'_>, targets: usize) -> Result<(Vec<f64>, usize), Fault> {
    let (x, n, features) = rows(call.tensor(0)?)?;
    let coefficients = call.floats_attr("coefficients")?.unwrap_or_default();
    ensure!(
        targets > 0 && coefficients.len() == targets.saturating_mul(features),
        "{} coefficients for {features} features and {targets} targets",
        coefficients.len()
    );
    let mut scores = product(&x, &transposed(&coefficients, targets, features), [n, features, targets])?;
    let intercepts = call.floats_attr("intercepts")?.unwrap_or_default();
    if !intercepts.is_empty() {
        ensure!(intercepts.len() == targets, "{} intercepts for {targets} targets", intercepts.len());
        scores.iter_mut().zip(intercepts.iter().cycle()).for_each(|(x, b)| *x += b);
    }
    Ok((scores, n))
}

fn linear_regressor(call: &Call<'_>) -> Outputs {
    let targets = super::layout::size(call.int("targets")?)?;
    let (scores, n) = linear_scores(call, targets)?;
    let rows = scores.chunks(targets).map(|row| post_transform(call, row.to_vec()));
    let y = rows.collect::<Result<Vec<_>, _>>()?.concat();
    Ok(vec![from_floats(DType::F32, &[n, targets], &y)?.into()])
}

fn linear_classifier(call: &Call<'_>) -> Outputs {
    let labels = Labels::of(call, "classlabels_strings", "classlabels_ints")?;
    let features = rows(call.tensor(0)?)?.2;
    let coefficients = call.floats_attr("coefficients")?.map_or(0, |c| c.len());
    let targets = coefficients.checked_div(features).unwrap_or(0);
    let (scores, n) = linear_scores(call, targets)?;
    // One score for two classes speaks for the second one.
    let binary = targets == 1 && labels.len() == 2;
    let (mut chosen, mut all) = (Vec::with_capacity(n), Vec::new());
    for row in scores.chunks(targets) {
        chosen.push(if binary { usize::from(row[0] > 0.0) } else { greatest(row) });
        let transformed = post_transform(call, row.to_vec())?;
        if binary {
            all.push(1.0 - transformed[0]);
        }
        all.extend(transformed);
    }
    let columns = if binary { 2 } else { targets };
    Ok(vec![labels.at(&chosen)?.into(), from_floats(DType::F32, &[n, columns], &all)?.into()])
}
