//! Ensembles of decision trees.

use std::collections::HashMap;

use byoc_graph::{Attr, DType};

use super::call::{Call, Outputs};
use super::elementwise_binary::{maximum, minimum};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::ml_linear::{Labels, greatest, post_transform, rows};
use super::numbers::{self, from_floats};
use super::registry::{Entry, ml};

pub(super) const OPS: &[Entry] = &[
    ml("TreeEnsemble", 5, tree_ensemble),
    ml("TreeEnsembleClassifier", 1, classifier),
    ml("TreeEnsembleRegressor", 1, regressor),
];

/// How a branch compares a feature with its value.
#[derive(Clone, Copy)]
enum Test {
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    Equal,
    NotEqual,
    Member,
}

impl Test {
    /// In the order of their numbers in TreeEnsemble.
    const ALL: [(&str, Test); 7] = [
        ("BRANCH_LEQ", Test::LessEqual),
        ("BRANCH_LT", Test::Less),
        ("BRANCH_GTE", Test::GreaterEqual),
        ("BRANCH_GT", Test::Greater),
        ("BRANCH_EQ", Test::Equal),
        ("BRANCH_NEQ", Test::NotEqual),
        ("BRANCH_MEMBER", Test::Member),
    ];

    fn holds(self, x: f64, values: &[f64]) -> bool {
        let value = values.first().copied().unwrap_or(f64::NAN);
        match self {
            Test::LessEqual => x <= value,
            Test::Less => x < value,
            Test::GreaterEqual => x >= value,
            Test::Greater => x > value,
            Test::Equal => x == value,
            Test::NotEqual => x != value,
            Test::Member => values.contains(&x),
        }
    }
}

enum Node {
    Branch {
        feature: usize,
        test: Test,
        values: Vec<f64>,
        missing_is_true: bool,
        yes: usize,
        no: usize,
    },
    /// Weights by target or class.
    Leaf(Vec<(usize, f64)>),
}

struct Forest {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

impl Forest {
    /// The weights that a row meets in one tree. A tree that leads in circles is refused.
    fn leaf(&self, root: usize, row: &[f64]) -> Result<&[(usize, f64)], Fault> {
        let mut at = root;
        for _ in 0..=self.nodes.len() {
            match self.nodes.get(at).ok_or_else(|| invalid!("a branch leads to node {at}, which is none"))? {
                Node::Leaf(weights) => return Ok(weights),
                Node::Branch { feature, test, values, missing_is_true, yes, no } => {
                    let x = *row.get(*feature).ok_or_else(|| invalid!("there is no feature {feature}"))?;
                    let taken = test.holds(x, values) || (x.is_nan() && *missing_is_true);
                    at = if taken { *yes } else { *no };
                }
            }
        }
        Err(invalid!("a tree leads in circles"))
    }

    /// Scores of one row, and whether each target got any; `aggregate` as the attribute names it.
    fn scores(&self, row: &[f64], targets: usize, aggregate: &str) -> Result<Vec<Option<f64>>, Fault> {
        let mut scores: Vec<Option<f64>> = vec![None; targets];
        for &root in &self.roots {
            for &(target, weight) in self.leaf(root, row)? {
                let score = scores.get_mut(target).ok_or_else(|| invalid!("there is no target {target}"))?;
                *score = Some(match (*score, aggregate) {
                    (None, _) => weight,
                    (Some(old), "MIN") => minimum(old, weight),
                    (Some(old), "MAX") => maximum(old, weight),
                    (Some(old), _) => old + weight,
                });
            }
        }
        if aggregate == "AVERAGE" {
            let trees = self.roots.len().max(1) as f64;
            scores.iter_mut().flatten().for_each(|score| *score /= trees);
        }
        Ok(scores)
    }

    /// The trees that attributes `nodes_*` describe, with weights from `{prefix}_*`.
    fn of(call: &Call<'_>, prefix: &str) -> Result<Forest, Fault> {
        let trees = call.ints("nodes_treeids")?;
        let ids = call.ints("nodes_nodeids")?;
        let modes = call.texts_opt("nodes_modes")?.unwrap_or_default();
        let (yes, no) = (call.ints("nodes_truenodeids")?, call.ints("nodes_falsenodeids")?);
        let features = layout::sizes(&call.ints("nodes_featureids")?)?;
        let values = number_list(call, "nodes_values")?;
        let missing = call.ints_opt("nodes_missing_value_tracks_true")?.unwrap_or_default();
        let n = trees.len();
        let fits = [ids.len(), modes.len(), yes.len(), no.len(), features.len(), values.len()]
            .iter()
            .all(|&l| l == n);
        ensure!(fits, "attributes `nodes_*` differ in length");
        let place: HashMap<(i64, i64), usize> = (0..n).map(|i| ((trees[i], ids[i]), i)).collect();
        let find = |tree: i64, id: i64| {
            place.get(&(tree, id)).copied().ok_or_else(|| invalid!("tree {tree} has no node {id}"))
        };
        let mut nodes = Vec::with_capacity(n);
        for i in 0..n {
            nodes.push(match &modes[i][..] {
                b"LEAF" => Node::Leaf(vec![]),
                mode => {
                    let test = Test::ALL.iter().find(|(name, _)| name.as_bytes() == mode);
                    Node::Branch {
                        feature: features[i],
                        test: test.ok_or_else(|| invalid!("{:?} is no mode of a node", modes[i]))?.1,
                        values: vec![values[i]],
                        missing_is_true: missing.get(i).is_some_and(|&m| m != 0),
                        yes: find(trees[i], yes[i])?,
                        no: find(trees[i], no[i])?,
                    }
                }
            });
        }
        let name = |part: &str| format!("{prefix}_{part}");
        let (leaf_trees, leaf_ids) = (call.ints(&name("treeids"))?, call.ints(&name("nodeids"))?);
        let targets = layout::sizes(&call.ints(&name("ids"))?)?;
        let weights = number_list(call, &name("weights"))?;
        let fits = [leaf_ids.len(), targets.len(), weights.len()].iter().all(|&l| l == leaf_trees.len());
        ensure!(fits, "attributes `{prefix}_*` differ in length");
        for (i, &target) in targets.iter().enumerate() {
            if let Node::Leaf(leaf) = &mut nodes[find(leaf_trees[i], leaf_ids[i])?] {
                leaf.push((target, weights[i]));
            }
        }
        // The first node of a tree is its root.
        let mut roots = Vec::new();
        for (i, tree) in trees.iter().enumerate() {
            if i == 0 || trees[i - 1] != *tree {
                roots.push(i);
            }
        }
        Ok(Forest { nodes, roots })
    }
}

/// A list of floats, or the tensor `{name}_as_tensor` in its place.
fn number_list(call: &Call<'_>, name: &str) -> Result<Vec<f64>, Fault> {
    match call.tensor_attr(&format!("{name}_as_tensor"))? {
        Some(tensor) => numbers::floats(tensor),
        None => Ok(call.floats_attr(name)?.unwrap_or_default()),
    }
}

/// Scores of one row with base values added.
fn with_base(scores: Vec<Option<f64>>, base: &[f64]) -> Vec<f64> {
    let base = |i: usize| if base.len() == 1 { base[0] } else { base.get(i).copied().unwrap_or(0.0) };
    scores.into_iter().enumerate().map(|(i, s)| s.unwrap_or(0.0) + base(i)).collect()
}

fn regressor(call: &Call<'_>) -> Outputs {
    let forest = Forest::of(call, "target")?;
    let (x, n, features) = rows(call.tensor(0)?)?;
    let targets = layout::size(call.int("n_targets")?)?;
    layout::count(&[n, targets])?;
    let (aggregate, base) = (call.text("aggregate_function")?, number_list(call, "base_values")?);
    let mut y = Vec::new();
    for row in 0..n {
        let scores = forest.scores(&x[row * features..(row + 1) * features], targets, aggregate)?;
        y.extend(post_transform(call, with_base(scores, &base))?);
    }
    Ok(vec![from_floats(DType::F32, &[n, targets], &y)?.into()])
}

fn classifier(call: &Call<'_>) -> Outputs {
    let forest = Forest::of(call, "class")?;
    let (x, n, features) = rows(call.tensor(0)?)?;
    let labels = Labels::of(call, "classlabels_strings", "classlabels_int64s")?;
    let base = number_list(call, "base_values")?;
    let ids = call.ints("class_ids")?;
    // Two classes of which only one has weights: its score decides.
    let binary = labels.len() == 2 && ids.windows(2).all(|w| w[0] == w[1]) && base.len() < 2;
    let all_positive = number_list(call, "class_weights")?.iter().all(|&w| w >= 0.0);
    let transform = call.text("post_transform")?;
    let (mut chosen, mut all) = (Vec::with_capacity(n), Vec::new());
    for row in 0..n {
        let scores = forest.scores(&x[row * features..(row + 1) * features], labels.len(), "SUM")?;
        if !binary {
            let scores = with_base(scores, &base);
            chosen.push(greatest(&scores));
            all.extend(post_transform(call, scores)?);
            continue;
        }
        let score = scores.into_iter().flatten().next().unwrap_or(0.0) + base.first().unwrap_or(&0.0);
        chosen.push(usize::from(score > if all_positive { 0.5 } else { 0.0 }));
        let other = if all_positive && transform != "LOGISTIC" { 1.0 - score } else { -score };
        all.extend(if transform == "NONE" {
            vec![other, score]
        } else {
            post_transform(call, vec![other, score])?
        });
    }
    Ok(vec![labels.at(&chosen)?.into(), from_floats(DType::F32, &[n, labels.len()], &all)?.into()])
}

/// The newer form: branches and leaves in lists of their own, sets of members behind one another.
fn tree_ensemble(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let (values, n, features) = rows(x)?;
    let targets = layout::size(call.int("n_targets")?)?;
    layout::count(&[n, targets])?;
    let forest = forest_of_lists(call)?;
    let aggregate = match call.int("aggregate_function")? {
        0 => "AVERAGE",
        1 => "SUM",
        2 => "MIN",
        3 => "MAX",
        other => return Err(invalid!("attribute `aggregate_function` is {other}")),
    };
    ensure!(call.int("post_transform")? == 0, "attribute `post_transform` has to be 0 (none) here");
    let mut y = Vec::new();
    for row in 0..n {
        let scores = forest.scores(&values[row * features..(row + 1) * features], targets, aggregate)?;
        y.extend(with_base(scores, &[]));
    }
    Ok(vec![from_floats(x.dtype(), &[n, targets], &y)?.into()])
}

fn tensor_list(call: &Call<'_>, name: &str) -> Result<Vec<f64>, Fault> {
    call.tensor_attr(name)?.map(numbers::floats).transpose().map(Option::unwrap_or_default)
}

fn forest_of_lists(call: &Call<'_>) -> Result<Forest, Fault> {
    let modes: Vec<i64> = match call.attr("nodes_modes") {
        Some(Attr::Tensor(modes)) => numbers::whole(modes)?,
        _ => return Err(invalid!("attribute `nodes_modes` has to be a tensor")),
    };
    let features = layout::sizes(&call.ints("nodes_featureids")?)?;
    let splits = tensor_list(call, "nodes_splits")?;
    let (yes, no) =
        (layout::sizes(&call.ints("nodes_truenodeids")?)?, layout::sizes(&call.ints("nodes_falsenodeids")?)?);
    let (yes_leaf, no_leaf) = (call.ints("nodes_trueleafs")?, call.ints("nodes_falseleafs")?);
    let missing = call.ints_opt("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let n = modes.len();
    let lengths = [features.len(), splits.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len()];
    ensure!(lengths.iter().all(|&l| l == n), "attributes `nodes_*` differ in length");
    let members = tensor_list(call, "membership_values")?;
    let mut sets = members.split(|x| x.is_nan());
    let to = |leaf: i64, at: usize| if leaf != 0 { n.saturating_add(at) } else { at };
    let mut nodes = Vec::with_capacity(n);
    for i in 0..n {
        let test = usize::try_from(modes[i]).ok().and_then(|m| Test::ALL.get(m));
        let test = test.ok_or_else(|| invalid!("{} is no mode of a node", modes[i]))?.1;
        let values = match test {
            Test::Member => sets.next().unwrap_or_default().to_vec(),
            _ => vec![splits[i]],
        };
        nodes.push(Node::Branch {
            feature: features[i],
            test,
            values,
            missing_is_true: missing.get(i).is_some_and(|&m| m != 0),
            yes: to(yes_leaf[i], yes[i]),
            no: to(no_leaf[i], no[i]),
        });
    }
    let leaf_targets = layout::sizes(&call.ints("leaf_targetids")?)?;
    let weights = tensor_list(call, "leaf_weights")?;
    ensure!(leaf_targets.len() == weights.len(), "attributes `leaf_*` differ in length");
    nodes.extend(leaf_targets.into_iter().zip(weights).map(|leaf| Node::Leaf(vec![leaf])));
    Ok(Forest { nodes, roots: layout::sizes(&call.ints("tree_roots")?)? })
}
