//! Operators that go along a sequence: shapes of their weights and states by gates, directions and hidden size.

use byoc_graph::Attr;

use super::shapes::Shaper;

/// Of LSTM, GRU and RNN; `dims` are time, batch and features, or batch, time and features.
pub fn recurrent(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let gates = match s.node(node).schema.name {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    s.attr(node, "direction", &["forward", "reverse", "bidirectional"].map(|d| Some(Attr::str(d))));
    let attr = |s: &Shaper<'_, '_, '_>, name: &str| s.node(node).attrs.get(name).cloned();
    let direction = attr(s, "direction");
    let directions = if direction.as_ref().and_then(Attr::as_str) == Some("bidirectional") { 2 } else { 1 };
    let size = s.size(&format!("{}.hidden", s.node(node).name.clone()));
    s.attr(node, "hidden_size", &[Some(Attr::Int(size as i64))]);
    let hidden = usize::try_from(attr(s, "hidden_size")?.as_int()?).ok()?;
    let batch_first = attr(s, "layout").and_then(|a| a.as_int()) == Some(1);
    let (batch, features) = (dims[usize::from(!batch_first)], dims[2]);
    let state = if batch_first { vec![batch, directions, hidden] } else { vec![directions, batch, hidden] };
    for slot in 1..s.node(node).inputs.len() {
        let Some(value) = s.input(node, slot) else { continue };
        match s.node(node).formal(slot)?.name {
            "W" => s.suggest(value, vec![directions, gates * hidden, features])?,
            "R" => s.suggest(value, vec![directions, gates * hidden, hidden])?,
            "B" => s.suggest(value, vec![directions, 2 * gates * hidden])?,
            "P" => s.suggest(value, vec![directions, 3 * hidden])?,
            "sequence_lens" => {
                let time = dims[usize::from(batch_first)];
                s.numbers(value, vec![batch], &vec![time as i64; batch])?;
            }
            _ => s.suggest(value, state.clone())?,
        }
    }
    Some(())
}
