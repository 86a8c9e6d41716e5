//! Support vector machines: SVMClassifier, SVMRegressor.

use byoc_graph::DType;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure};
use super::layout;
use super::ml_linear::{Labels, greatest, post_transform, rows};
use super::numbers::{self, from_floats};
use super::registry::{Entry, ml};
use super::special::sigmoid;

pub(super) const OPS: &[Entry] = &[ml("SVMClassifier", 1, classifier), ml("SVMRegressor", 1, regressor)];

/// How alike two rows are.
struct Likeness<'a> {
    kind: &'a str,
    gamma: f64,
    offset: f64,
    degree: f64,
}

impl<'a> Likeness<'a> {
    fn of(call: &Call<'a>) -> Result<Likeness<'a>, Fault> {
        let kind = call.text("kernel_type")?;
        let known = matches!(kind, "LINEAR" | "POLY" | "RBF" | "SIGMOID");
        ensure!(known, "attribute `kernel_type` is `{kind}`, which is not known");
        let (gamma, offset, degree) = match call.floats_attr("kernel_params")?.unwrap_or_default()[..] {
            [] => (0.0, 0.0, 0.0),
            [gamma, offset, degree] => (gamma, offset, degree),
            ref other => return Err(super::fault::invalid!("{} values of `kernel_params`", other.len())),
        };
        Ok(Likeness { kind, gamma, offset, degree })
    }

    fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        let scaled = || self.gamma * dot(a, b) + self.offset;
        match self.kind {
            "POLY" => scaled().powf(self.degree),
            "SIGMOID" => scaled().tanh(),
            "RBF" => (-self.gamma * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()).exp(),
            _ => dot(a, b),
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The likeness of a row to each of `count` support vectors.
fn likenesses(call: &Call<'_>, count: usize, features: usize) -> Result<impl Fn(&[f64]) -> Vec<f64>, Fault> {
    let likeness = Likeness::of(call)?;
    let vectors = call.floats_attr("support_vectors")?.unwrap_or_default();
    ensure!(
        vectors.len() == count.saturating_mul(features),
        "{} numbers for {count} support vectors of {features} features",
        vectors.len()
    );
    Ok(move |row: &[f64]| {
        (0..count).map(|i| likeness.between(row, &vectors[i * features..(i + 1) * features])).collect()
    })
}

fn regressor(call: &Call<'_>) -> Outputs {
    let (x, n, features) = rows(call.tensor(0)?)?;
    let coefficients = call.floats_attr("coefficients")?.unwrap_or_default();
    let rho = call.floats_attr("rho")?.and_then(|r| r.first().copied()).unwrap_or(0.0);
    let count = layout::size(call.int("n_supports")?)?;
    let alike = likenesses(call, count, features)?;
    let needed = if count > 0 { count } else { features };
    ensure!(coefficients.len() == needed, "{} coefficients, where {needed} are needed", coefficients.len());
    let one_class = call.flag("one_class")?;
    let mut y = Vec::with_capacity(n);
    for row in (0..n).map(|i| &x[i * features..(i + 1) * features]) {
        let score = rho + if count > 0 { dot(&alike(row), &coefficients) } else { dot(row, &coefficients) };
        let score = if one_class { if score > 0.0 { 1.0 } else { -1.0 } } else { score };
        y.extend(post_transform(call, vec![score])?);
    }
    Ok(vec![from_floats(DType::F32, &[n, 1], &y)?.into()])
}

/// Votes and scores of one row, each pair of classes against each other.
struct Duel {
    votes: Vec<f64>,
    scores: Vec<f64>,
}

/// Support vectors by class, and what decides between each two.
struct Machine {
    /// Support vectors of each class, as ranges into all.
    ranges: Vec<std::ops::Range<usize>>,
    /// A row of coefficients for each class but one, a column for each support vector.
    coefficients: Vec<f64>,
    rho: Vec<f64>,
}

impl Machine {
    fn of(call: &Call<'_>, per_class: &[usize]) -> Result<Machine, Fault> {
        let mut end = 0usize;
        let mut ranges = Vec::with_capacity(per_class.len());
        for &count in per_class {
            let next = end.checked_add(count).ok_or(Fault::TooLarge(vec![end, count]))?;
            ranges.push(end..next);
            end = next;
        }
        let (classes, coefficients) = (ranges.len(), call.floats_attr("coefficients")?.unwrap_or_default());
        let rho = call.floats_attr("rho")?.unwrap_or_default();
        ensure!(
            coefficients.len() == (classes - 1).saturating_mul(end)
                && rho.len() == classes * (classes - 1) / 2,
            "{} coefficients and {} values of `rho` for {classes} classes with {end} support vectors",
            coefficients.len(),
            rho.len()
        );
        Ok(Machine { ranges, coefficients, rho })
    }

    fn vectors(&self) -> usize {
        self.ranges.last().map_or(0, |r| r.end)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let classes = self.ranges.len();
        (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
    }

    fn duel(&self, alike: &[f64]) -> Duel {
        let mut duel =
            Duel { votes: vec![0.0; self.ranges.len()], scores: Vec::with_capacity(self.rho.len()) };
        let part = |row: usize, range: &std::ops::Range<usize>| {
            let start = row * self.vectors();
            dot(&self.coefficients[start..][range.clone()], &alike[range.clone()])
        };
        for ((i, j), rho) in self.pairs().zip(&self.rho) {
            let score = rho + part(j - 1, &self.ranges[i]) + part(i, &self.ranges[j]);
            duel.votes[if score > 0.0 { i } else { j }] += 1.0;
            duel.scores.push(score);
        }
        duel
    }

    /// Probabilities of the classes from those between each two (Wu, Lin and Weng 2004, algorithm 2).
    fn probabilities(&self, scores: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
        const LEAST: f64 = 1e-7;
        let k = self.ranges.len();
        let mut beats = vec![vec![0.0; k]; k];
        for (at, (i, j)) in self.pairs().enumerate() {
            let p = (1.0 - sigmoid(scores[at] * a[at] + b[at])).clamp(LEAST, 1.0 - LEAST);
            (beats[i][j], beats[j][i]) = (p, 1.0 - p);
        }
        let entry = |t: usize, s: usize| match t == s {
            true => (0..k).filter(|&j| j != t).map(|j| beats[j][t] * beats[j][t]).sum(),
            false => -beats[s][t] * beats[t][s],
        };
        let q: Vec<Vec<f64>> = (0..k).map(|t| (0..k).map(|s| entry(t, s)).collect()).collect();
        let mut p = vec![1.0 / k as f64; k];
        for _ in 0..k.max(100) {
            let mut qp: Vec<f64> = q.iter().map(|row| dot(row, &p)).collect();
            let mut pqp = dot(&p, &qp);
            if qp.iter().all(|x| (x - pqp).abs() < 0.005 / k as f64) {
                break;
            }
            for t in 0..k {
                let step = (pqp - qp[t]) / q[t][t];
                p[t] += step;
                pqp = (pqp + step * (step * q[t][t] + 2.0 * qp[t])) / ((1.0 + step) * (1.0 + step));
                qp.iter_mut().zip(&q[t]).for_each(|(x, q)| *x = (*x + step * q) / (1.0 + step));
                p.iter_mut().for_each(|x| *x /= 1.0 + step);
            }
        }
        p
    }
}

fn classifier(call: &Call<'_>) -> Outputs {
    let (x, n, features) = rows(call.tensor(0)?)?;
    let labels = Labels::of(call, "classlabels_strings", "classlabels_ints")?;
    let per_class = layout::sizes(&call.ints_opt("vectors_per_class")?.unwrap_or_default())?;
    if per_class.iter().all(|&count| count == 0) {
        return linear(call, &labels, (&x, n, features));
    }
    ensure!(per_class.len() == labels.len(), "{} classes and {} labels", per_class.len(), labels.len());
    let machine = Machine::of(call, &per_class)?;
    let alike = likenesses(call, machine.vectors(), features)?;
    let [a, b] = ["prob_a", "prob_b"].map(|name| call.floats_attr(name));
    let (a, b) = (a?.unwrap_or_default(), b?.unwrap_or_default());
    let fits = a.is_empty() || (a.len() == machine.rho.len() && b.len() == a.len());
    ensure!(fits, "{} values of `prob_a` and {} of `prob_b`", a.len(), b.len());
    let mut scored = Vec::with_capacity(n);
    for row in (0..n).map(|i| &x[i * features..(i + 1) * features]) {
        let duel = machine.duel(&alike(row));
        let scores = if a.is_empty() { duel.scores } else { machine.probabilities(&duel.scores, &a, &b) };
        scored.push((greatest(&duel.votes), scores));
    }
    classified(call, &labels, scored)
}

/// Without support vectors, each class has coefficients of its own.
fn linear(call: &Call<'_>, labels: &Labels, (x, n, features): (&[f64], usize, usize)) -> Outputs {
    let classes = labels.len().max(1);
    let coefficients = call.floats_attr("coefficients")?.unwrap_or_default();
    let rho = call.floats_attr("rho")?.and_then(|r| r.first().copied()).unwrap_or(0.0);
    ensure!(
        coefficients.len() == classes.saturating_mul(features),
        "{} coefficients for {classes} classes and {features} features",
        coefficients.len()
    );
    let score = |row: &[f64]| -> Vec<f64> {
        (0..classes).map(|c| rho + dot(row, &coefficients[c * features..(c + 1) * features])).collect()
    };
    let chosen = |scores: &[f64]| {
        let best = greatest(scores);
        // Of two classes that nothing speaks against, a strong score names the second, whichever has it.
        let second = classes == 2 && scores[best] >= 0.5 && coefficients.iter().all(|&c| c >= 0.0);
        if second { 1 } else { best }
    };
    let scored = (0..n).map(|i| score(&x[i * features..(i + 1) * features]));
    classified(call, labels, scored.map(|scores| (chosen(&scores), scores)).collect())
}

/// Labels and transformed scores of rows. A single score of two classes is that of the second, less the first.
fn classified(call: &Call<'_>, labels: &Labels, scored: Vec<(usize, Vec<f64>)>) -> Outputs {
    let n = scored.len();
    let (mut chosen, mut all) = (Vec::with_capacity(n), Vec::new());
    for (place, scores) in scored {
        chosen.push(place);
        let scores = match scores[..] {
            [score] if labels.len() == 2 => vec![-score, score],
            _ => scores,
        };
        all.extend(post_transform(call, scores)?);
    }
    let width = all.len().checked_div(n).unwrap_or(0);
    numbers::filled((), &[n, width])?;
    Ok(vec![labels.at(&chosen)?.into(), from_floats(DType::F32, &[n, width], &all)?.into()])
}
