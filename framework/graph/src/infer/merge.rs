//! Bringing together what is known of a type from two sides.

use std::sync::Arc;

use crate::{Dim, Dims, TensorType, Type};

/// What was inferred, completed by what is declared, and whether they contradict each other; if they do,
/// the inferred holds.
pub fn combine(declared: &Type, inferred: &Type) -> (Type, bool) {
    let mut contradicts = false;
    let ty = match (declared, inferred) {
        (Type::Tensor(d), Type::Tensor(i)) => Type::Tensor(combine_tensors(d, i, &mut contradicts)),
        (Type::SparseTensor(d), Type::SparseTensor(i)) => {
            Type::SparseTensor(combine_tensors(d, i, &mut contradicts))
        }
        (Type::Sequence(d), Type::Sequence(i)) => Type::Sequence(combine_inner(d, i, &mut contradicts)),
        (Type::Optional(d), Type::Optional(i)) => Type::Optional(combine_inner(d, i, &mut contradicts)),
        (Type::Map(k, d), Type::Map(l, i)) if k == l => Type::Map(*k, combine_inner(d, i, &mut contradicts)),
        _ => {
            contradicts = declared != inferred;
            inferred.clone()
        }
    };
    (ty, contradicts)
}

fn combine_tensors(declared: &TensorType, inferred: &TensorType, contradicts: &mut bool) -> TensorType {
    *contradicts |= declared.dtype.is_some_and(|d| inferred.dtype.is_some_and(|i| d != i));
    let shape = match (&declared.shape, &inferred.shape) {
        (Some(d), Some(i)) if d.len() == i.len() => {
            Some(d.iter().zip(i).map(|(d, i)| combine_dims(d, i, contradicts)).collect())
        }
        (Some(_), Some(i)) => {
            *contradicts = true;
            Some(i.clone())
        }
        (d, i) => i.clone().or_else(|| d.clone()),
    };
    TensorType { dtype: inferred.dtype.or(declared.dtype), shape }
}

fn combine_dims(declared: &Dim, inferred: &Dim, contradicts: &mut bool) -> Dim {
    match (declared, inferred) {
        (Dim::Static(d), Dim::Static(i)) => {
            *contradicts |= d != i;
            Dim::Static(*i)
        }
        (_, Dim::Unknown) => declared.clone(),
        // A number beside a symbol is often left over from the sizes that a model was traced with.
        _ => inferred.clone(),
    }
}

type Inner = Option<Arc<Type>>;

fn combine_inner(declared: &Inner, inferred: &Inner, contradicts: &mut bool) -> Inner {
    match (declared, inferred) {
        (Some(d), Some(i)) => {
            let (ty, differs) = combine(d, i);
            *contradicts |= differs;
            Some(Arc::new(ty))
        }
        (d, i) => i.clone().or_else(|| d.clone()),
    }
}

/// What holds of a value that is one of two: the branches of an If, the rounds of a Loop.
pub fn either(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => either_tensor(a, b).map(Type::Tensor),
        (Type::SparseTensor(a), Type::SparseTensor(b)) => either_tensor(a, b).map(Type::SparseTensor),
        (Type::Sequence(a), Type::Sequence(b)) => Some(Type::Sequence(either_inner(a, b))),
        (Type::Optional(a), Type::Optional(b)) => Some(Type::Optional(either_inner(a, b))),
        _ => (a == b).then(|| a.clone()),
    }
}

fn either_tensor(a: &TensorType, b: &TensorType) -> Option<TensorType> {
    let dtype = if a.dtype == b.dtype { a.dtype } else { None };
    let shape = match (&a.shape, &b.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => Some(either_dims(a, b)),
        _ => None,
    };
    Some(TensorType { dtype, shape })
}

fn either_dims(a: &Dims, b: &Dims) -> Dims {
    a.iter().zip(b).map(|(a, b)| if a == b { a.clone() } else { Dim::Unknown }).collect()
}

fn either_inner(a: &Inner, b: &Inner) -> Inner {
    either(a.as_ref()?, b.as_ref()?).map(Arc::new)
}

/// Two dimensions that have to be equal in a valid model: the one that says more.
pub fn same_dim(a: &Dim, b: &Dim) -> Dim {
    match (a, b) {
        (Dim::Static(_), _) | (_, Dim::Unknown) => a.clone(),
        (_, Dim::Static(_)) | (Dim::Unknown, _) => b.clone(),
        _ => a.clone(),
    }
}

/// A declared type without dimensions that cannot be: a negative number stands for nothing known.
pub fn without_negative(ty: &Type) -> Type {
    let tensor = |t: &TensorType| {
        let dim = |d: &Dim| if d.value().is_some_and(|n| n < 0) { Dim::Unknown } else { d.clone() };
        TensorType { dtype: t.dtype, shape: t.shape.as_ref().map(|dims| dims.iter().map(dim).collect()) }
    };
    let inner = |inner: &Inner| inner.as_ref().map(|ty| Arc::new(without_negative(ty)));
    match ty {
        Type::Tensor(t) => Type::Tensor(tensor(t)),
        Type::SparseTensor(t) => Type::SparseTensor(tensor(t)),
        Type::Sequence(element) => Type::Sequence(inner(element)),
        Type::Optional(element) => Type::Optional(inner(element)),
        Type::Map(key, value) => Type::Map(*key, inner(value)),
        Type::Opaque { .. } => ty.clone(),
    }
}
