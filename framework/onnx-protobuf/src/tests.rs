use super::*;
use protobuf::Message;

/// Field `number` of the length-delimited kind, around `content`.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

#[test]
fn byte_fields_share_the_input() {
    let mut tensor = TensorProto::new();
    tensor.set_raw_data(Bytes::from(vec![7; 4096]));
    let bytes = Bytes::from(tensor.write_to_bytes().unwrap());
    let read: TensorProto = parse(&bytes).unwrap();
    assert_eq!(read, tensor);
    let range = bytes.as_ptr_range();
    assert!(range.contains(&read.raw_data().as_ptr()));
}

#[test]
fn every_prefix_of_a_message_is_refused_or_shorter_at_a_field_border() {
    let mut model = ModelProto::new();
    model.set_ir_version(8);
    let graph = model.graph.mut_or_insert_default();
    graph.set_name("main".into());
    graph.node.push(NodeProto::new());
    let bytes = Bytes::from(model.write_to_bytes().unwrap());
    assert!(parse::<ModelProto>(&bytes).is_ok());
    let accepted: Vec<usize> =
        (0..bytes.len()).filter(|&n| parse::<ModelProto>(&bytes.slice(..n)).is_ok()).collect();
    // Nothing at all, and the IR version alone: the graph is never taken in part.
    assert_eq!(accepted, [0, 2]);
}

#[test]
fn deep_groups_are_an_error() {
    let open = vec![0x9b_u8; 1_000_000].into_iter().flat_map(|start| [start, 0x06]).collect::<Vec<u8>>();
    assert!(parse::<ModelProto>(&Bytes::from(open)).is_err());
}

#[test]
fn deep_messages_are_an_error() {
    // A type inside a sequence inside a type, from the inside out.
    let mut bytes = Vec::new();
    for _ in 0..1_000 {
        bytes = field(4, &field(1, &bytes));
    }
    assert!(parse::<TypeProto>(&Bytes::from(bytes)).is_err());
}

#[test]
fn lengths_beyond_the_input_are_an_error() {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]; // 2^60
    for number in 1..=15 {
        let mut bytes = vec![number << 3 | 2];
        bytes.extend_from_slice(&huge);
        let bytes = Bytes::from(bytes);
        assert!(parse::<TensorProto>(&bytes).is_err(), "field {number} of a tensor");
        assert!(parse::<ModelProto>(&bytes).is_err(), "field {number} of a model");
        assert!(parse::<GraphProto>(&bytes).is_err(), "field {number} of a graph");
    }
}
