use byoc_plugin::{Composite, Dim, Node, Region, Value};

use crate::codegen::Program;

fn value(index: usize, name: &'static str, shape: &[usize]) -> Value<'static> {
    let dims = shape.iter().map(|size| Dim::Known(*size)).collect();
    Value { index, name, dims: Some(dims), ..Value::default() }
}

#[test]
fn a_product_with_a_row_added() {
    let node = |index, op, inputs: [usize; 2], output| Node {
        index,
        op,
        inputs: inputs.map(Some).to_vec(),
        outputs: vec![Some(output)],
        composite: Some(0),
        ..Node::default()
    };
    let region = Region {
        nodes: vec![node(0, "MatMul", [0, 1], 3), node(1, "Add", [3, 2], 4)],
        values: vec![
            value(0, "a", &[2, 2]),
            value(1, "b", &[2, 2]),
            value(2, "c", &[2]),
            value(3, "p", &[2, 2]),
            value(4, "y", &[2, 2]),
        ],
        inputs: vec![0, 1, 2],
        outputs: vec![4],
        composites: vec![Composite {
            pattern: "matmul_add",
            nodes: vec![0, 1],
            bindings: vec![("a", 0), ("b", 1), ("c", 2), ("p", 3), ("y", 4)],
        }],
        ..Region::default()
    };
    let program = Program::new(&region).unwrap();
    let results = program.run(&[&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 0.0, 1.0], &[10.0, 20.0]]);
    assert_eq!(results, [[11.0, 22.0, 13.0, 24.0]]);
}

#[test]
fn a_region_of_unknown_patterns_is_refused() {
    let node = Node { op: "Sub", composite: Some(0), ..Node::default() };
    let composite = Composite { pattern: "sub", nodes: vec![0], bindings: Vec::new() };
    let region = Region { nodes: vec![node], composites: vec![composite], ..Region::default() };
    let error = Program::new(&region).err().unwrap();
    assert_eq!((error.category, error.node), (byoc_plugin::Category::Unsupported, Some(0)));
}
