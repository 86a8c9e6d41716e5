use super::*;

fn n() -> Dim {
    Dim::symbol("N")
}

#[test]
fn polynomials_are_canonical() {
    let twice = n().add(&n());
    assert_eq!(twice, n().mul(&Dim::Static(2)));
    assert_eq!(twice.floor_div(&Dim::Static(2)), n());
    assert_eq!(twice.sub(&n()).sub(&n()), Dim::Static(0));
    assert_eq!(n().mul(&n()).div_exact(&n()), Some(n()));
    assert_eq!(twice.sub(&Dim::Static(1)).to_string(), "2*N - 1");
}

#[test]
fn division_rounds_down_and_up() {
    assert_eq!(Dim::Static(-7).floor_div(&Dim::Static(2)), Dim::Static(-4));
    assert_eq!(Dim::Static(7).ceil_div(&Dim::Static(2)), Dim::Static(4));
    assert_eq!(n().mul(&Dim::Static(2)).ceil_div(&Dim::Static(2)), n());
    assert_eq!(n().floor_div(&Dim::Static(2)).to_string(), "floor_div(N, 2)");
    assert_eq!(Dim::Static(1).floor_div(&Dim::Static(0)), Dim::Unknown);
}

#[test]
fn bounds_that_follow_are_used() {
    let more = n().add(&Dim::Static(1));
    assert_eq!(n().smaller(&more), n());
    assert_eq!(n().larger(&more), more);
    assert_eq!(n().larger(&Dim::Static(0)), n());
    let less = n().sub(&Dim::Static(1)).larger(&Dim::Static(0));
    assert_eq!(less.larger(&Dim::Static(0)), less);
    let capped = n().smaller(&Dim::Static(8));
    assert_eq!(capped.to_string(), "min(8, N)");
    let bound = Expr::symbol("N").add(&Expr::symbol("M")).expect("small");
    assert_eq!(capped.assume_at_most(&bound, 8), n());
    assert_eq!(capped.assume_at_most(&bound, 9), capped);
}

#[test]
fn substitution_reaches_into_atoms() {
    let half = n().floor_div(&Dim::Static(2));
    let bound = half.substitute(&|name| (name == "N").then(|| Expr::constant(9)));
    assert_eq!(bound, Dim::Static(4));
}

#[test]
fn expressions_do_not_grow_without_bound() {
    let mut dim = n();
    for i in 2..500 {
        let part = dim.floor_div(&Dim::Static(i)).add(&Dim::symbol(format!("s{i}")));
        let next = part.mul(&part).smaller(&dim.mul(&part)).add(&dim);
        dim = if next.is_known() { next } else { n() };
        assert!(dim.to_string().len() < 10_000);
    }
}

#[test]
fn overflow_and_unknown_stay_unknown() {
    assert_eq!(Dim::Static(i64::MAX).add(&Dim::Static(1)), Dim::Unknown);
    assert_eq!(Dim::Unknown.add(&n()), Dim::Unknown);
    assert_eq!(Dim::Unknown.mul(&Dim::Static(0)), Dim::Static(0));
}
