//! Object detection: NonMaxSuppression.

use super::call::{Call, Outputs};
use super::fault::{ensure, invalid};
use super::numbers::from_whole;
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[onnx("NonMaxSuppression", 10, non_max_suppression)];

/// Corners of a box: least y, least x, greatest y, greatest x.
type Corners = [f64; 4];

fn corners(b: &[f64], centred: bool) -> Corners {
    if centred {
        let (x, y, width, height) = (b[0], b[1], b[2], b[3]);
        return [y - height / 2.0, x - width / 2.0, y + height / 2.0, x + width / 2.0];
    }
    [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
}

fn overlap(a: &Corners, b: &Corners) -> f64 {
    let area = |c: &Corners| (c[2] - c[0]).max(0.0) * (c[3] - c[1]).max(0.0);
    let common = area(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

fn non_max_suppression(call: &Call<'_>) -> Outputs {
    let (boxes, scores) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, n, 4], &[score_batch, classes, score_n]) = (boxes.dims(), scores.dims()) else {
        return Err(invalid!("boxes of {:?} and scores of {:?}", boxes.dims(), scores.dims()));
    };
    ensure!(
        batch == score_batch && n == score_n,
        "boxes of {:?} and scores of {:?}",
        boxes.dims(),
        scores.dims()
    );
    let most = if call.datum_opt(2).is_some() { call.whole_scalar(2)? } else { 0 };
    let limit = if call.datum_opt(3).is_some() { call.float_scalar(3)? } else { 0.0 };
    let least = if call.datum_opt(4).is_some() { call.float_scalar(4)? } else { f64::NEG_INFINITY };
    let centred = call.flag("center_point_box")?;
    let (boxes, scores) = (call.floats(0)?, call.floats(1)?);
    let boxes: Vec<Corners> = boxes.chunks(4).map(|b| corners(b, centred)).collect();
    let mut found = Vec::new();
    for (b, class) in (0..batch).flat_map(|b| (0..classes).map(move |c| (b, c))) {
        let scores = &scores[(b * classes + class) * n..][..n];
        let mut order: Vec<usize> = (0..n).filter(|&i| scores[i] > least).collect();
        order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
        let mut kept: Vec<usize> = Vec::new();
        for i in order {
            if kept.len() as i64 >= most {
                break;
            }
            if kept.iter().all(|&k| overlap(&boxes[b * n + i], &boxes[b * n + k]) <= limit) {
                kept.push(i);
            }
        }
        found.extend(kept.into_iter().flat_map(|i| [b as i64, class as i64, i as i64]));
    }
    Ok(vec![from_whole(&[found.len() / 3, 3], found)?])
}
