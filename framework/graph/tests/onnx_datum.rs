//! Values as files: every input and output of the test data, and of ONNX's own writer, comes back the same.

mod support;

use byoc_graph::{DType, Datum, Dim, MapKeys, Tensor, Type, npy, onnx, packed};
use bytes::Bytes;

/// Writes one value of each kind, and what its type is, for the test below to read.
const WRITE: &str = r#"
import sys, pathlib, numpy as np
from onnx import numpy_helper as nh, TensorProto
out = pathlib.Path(sys.argv[1])
seq = nh.from_list([np.array([1, 2], np.int64), np.array([3], np.int64)], "s")
(out / "sequence.pb").write_bytes(seq.SerializeToString())
(out / "empty_sequence.pb").write_bytes(nh.from_list([], "s").SerializeToString())
(out / "map.pb").write_bytes(nh.from_dict({7: np.array(1.5, np.float32), -8: np.array(2.5, np.float32)}, "m").SerializeToString())
(out / "some.pb").write_bytes(nh.from_optional(np.array([True]), "o").SerializeToString())
(out / "none.pb").write_bytes(nh.from_optional(None, "o").SerializeToString())
np.save(out / "fortran.npy", np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)))
np.save(out / "big.npy", np.arange(3).astype(">i8"))
np.save(out / "text.npy", np.array(["a", "bcd"]))
"#;

/// Reads what the test below wrote back, and compares it with what `WRITE` wrote.
const READ: &str = r#"
import sys, pathlib, numpy as np, onnx
first, second = map(pathlib.Path, sys.argv[1:])
kinds = {"sequence": onnx.SequenceProto, "empty_sequence": onnx.SequenceProto, "map": onnx.MapProto,
         "some": onnx.OptionalProto, "none": onnx.OptionalProto}
def plain(p):
    to = onnx.numpy_helper
    if isinstance(p, onnx.SequenceProto): return repr(to.to_list(p))
    if isinstance(p, onnx.MapProto): return repr(to.to_dict(p))
    return repr(to.to_optional(p))
for name, kind in kinds.items():
    a, b = (kind.FromString((f / f"{name}.pb").read_bytes()) for f in (first, second))
    assert plain(a) == plain(b), (name, a, b)
for name in ("fortran", "big", "text"):
    a, b = (np.load(f / f"{name}.npy") for f in (first, second))
    assert (a == b).all() and a.shape == b.shape, name
"#;

#[test]
fn agrees_with_onnx_and_numpy() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if support::python(WRITE, &[first.path()]).is_none() {
        return;
    }
    let int64 = Type::tensor(DType::I64, [Dim::Unknown]);
    let sequence = Type::Sequence(Some(int64.clone().into()));
    let types = [
        ("sequence", sequence.clone()),
        ("empty_sequence", sequence),
        ("map", Type::Map(DType::I64, Some(Type::tensor(DType::F32, []).into()))),
        ("some", Type::Optional(Some(Type::tensor(DType::Bool, [Dim::Static(1)]).into()))),
        ("none", Type::Optional(Some(int64.into()))),
    ];
    let mut read = Vec::new();
    for (name, ty) in &types {
        let datum = onnx::read_datum(first.path().join(format!("{name}.pb")), Some(ty)).unwrap();
        onnx::write_datum(second.path().join(format!("{name}.pb")), name, &datum).unwrap();
        read.push(datum);
    }
    assert!(matches!(&read[0], Datum::Sequence { items, .. } if items.len() == 2));
    assert!(matches!(&read[1], Datum::Sequence { items, .. } if items.is_empty()));
    assert!(matches!(&read[2], Datum::Map { keys: MapKeys::Ints(DType::I64, keys), .. } if keys == &[7, -8]));
    assert!(matches!(&read[3], Datum::Optional { value: Some(_), .. }));
    assert!(matches!(&read[4], Datum::Optional { value: None, .. }));
    for name in ["fortran.npy", "big.npy", "text.npy"] {
        npy::write(second.path().join(name), &npy::read(first.path().join(name), None).unwrap()).unwrap();
    }
    support::python(READ, &[first.path(), second.path()]);
}

/// Every code of the six-bit floats in both fields that hold them, and a length that ends within a byte.
const WRITE_SIX_BITS: &str = r#"
import sys, pathlib, numpy as np
from onnx import helper, numpy_helper as nh, TensorProto as T
out = pathlib.Path(sys.argv[1])
for name, kind in (("float6e2m3", T.FLOAT6E2M3), ("float6e3m2", T.FLOAT6E3M2)):
    for count in (64, 7, 0):
        codes = np.arange(count, dtype=np.uint8)
        values = codes.view(helper.tensor_dtype_to_np_dtype(kind))
        (out / f"{name}_{count}_raw.pb").write_bytes(nh.from_array(values, "x").SerializeToString())
        typed = T(data_type=kind, dims=[count], int32_data=codes.tolist())
        (out / f"{name}_{count}_typed.pb").write_bytes(typed.SerializeToString())
"#;

const READ_SIX_BITS: &str = r#"
import sys, pathlib, numpy as np, onnx
first, second = map(pathlib.Path, sys.argv[1:])
for path in sorted(first.glob("*.pb")):
    a, b = (onnx.numpy_helper.to_array(onnx.TensorProto.FromString((f / path.name).read_bytes())) for f in (first, second))
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), path.name
    codes = np.load(second / (path.stem + ".npy"))
    assert codes.tobytes() == a.tobytes(), path.name
"#;

#[test]
fn floats_of_six_bits_agree_with_onnx() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if support::python(WRITE_SIX_BITS, &[first.path()]).is_none() {
        return;
    }
    for path in support::files_below(first.path(), "pb") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (dtype, count) = stem.split_once('_').unwrap();
        let dtype = DType::from_name(dtype).unwrap();
        let count: u8 = count.split_once('_').unwrap().0.parse().unwrap();
        let datum = onnx::read_datum(&path, Some(&Type::tensor(dtype, [Dim::Unknown]))).unwrap();
        let tensor = datum.as_tensor().unwrap();
        assert_eq!(packed::unpack(tensor), (0..count).collect::<Vec<u8>>(), "{stem}");
        onnx::write_datum(second.path().join(format!("{stem}.pb")), "x", &datum).unwrap();
        let array = second.path().join(format!("{stem}.npy"));
        npy::write(&array, tensor).unwrap();
        assert!(npy::read(&array, Some(dtype)).unwrap().same(tensor), "{stem}");
    }
    support::python(READ_SIX_BITS, &[first.path(), second.path()]);
}

/// Whatever the value, reading what was written gives it back.
#[test]
fn values_come_back() {
    let tensor = |x: f32| Datum::Tensor(Tensor::scalar(x));
    let element = Some(Type::tensor(DType::F32, []));
    let sequence = Datum::Sequence { element: element.clone(), items: vec![tensor(1.0), tensor(2.0)] };
    let sequence_type = Type::Sequence(element.clone().map(Into::into));
    let map = Datum::Map {
        keys: MapKeys::Strings(vec![Bytes::from_static(b"k"), Bytes::from_static(b"l")]),
        values: vec![tensor(3.0), tensor(4.0)],
    };
    let map_type = Type::Map(DType::Str, element.clone().map(Into::into));
    let maps = Datum::Sequence { element: Some(map_type.clone()), items: vec![map.clone()] };
    let maybe =
        Datum::Optional { element: Some(sequence_type.clone()), value: Some(Box::new(sequence.clone())) };
    for (datum, ty) in [
        (tensor(5.0), Type::tensor(DType::F32, [])),
        (sequence, sequence_type.clone()),
        (map, map_type.clone()),
        (maps, Type::Sequence(Some(map_type.into()))),
        (maybe, Type::Optional(Some(sequence_type.into()))),
    ] {
        let bytes = Bytes::from(onnx::datum_to_bytes("x", &datum).unwrap());
        assert_eq!(onnx::datum_from_bytes(&bytes, Some(&ty)).unwrap(), datum);
        for end in 1..bytes.len() {
            let _ = onnx::datum_from_bytes(&bytes.slice(..end), Some(&ty));
        }
    }
}

#[test]
fn mixed_sequences_are_refused() {
    let tensor = Datum::Tensor(Tensor::scalar(1.0f32));
    let inner = Datum::Sequence { element: None, items: vec![tensor.clone()] };
    let mixed = Datum::Sequence { element: None, items: vec![tensor, inner] };
    let error = onnx::datum_to_bytes("x", &mixed).unwrap_err().to_string();
    assert!(error.contains("a tensor beside a sequence"), "{error}");
}

#[test]
fn values_of_the_test_data_can_be_read() {
    let Some(folder) = support::test_data("corpora") else { return };
    let mut tensors = 0;
    for path in support::files_below(&folder, "pb") {
        match onnx::read_datum(&path, None) {
            Ok(_) => tensors += 1,
            // The few that are no tensors are read as what the model says they are.
            Err(error) => {
                let model = path.parent().unwrap().parent().unwrap().join("model.onnx");
                let model = onnx::load(model).unwrap();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                let (side, index) = name.split_once('_').unwrap();
                let ids = if side == "input" { model.graph.inputs() } else { model.graph.outputs() };
                let ty = model.graph.value(ids[index.parse::<usize>().unwrap()]).ty.clone().unwrap();
                assert!(ty.as_tensor().is_none(), "{error}");
                onnx::read_datum(&path, Some(&ty)).unwrap();
            }
        }
    }
    assert!(tensors > 1000, "{tensors}");
}
