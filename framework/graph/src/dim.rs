//! Dimensions: static, symbolic by name (with arithmetic), or unknown: three different things.
//!
//! A symbolic dimension is a polynomial with integer coefficients over *atoms*. An atom is a named
//! dimension (`batch`) or an operation that polynomials cannot express (a floor division, a remainder,
//! a minimum or a maximum) of two polynomials. Equal polynomials are equal values, so `2*N/2` is `N`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Terms a polynomial may have before it is given up as unknown.
const MAX_TERMS: usize = 64;
/// Symbols and operations in all, nested ones counted, before an expression is given up as unknown.
const MAX_SIZE: usize = 256;
/// Powers above this are given up as unknown.
const MAX_POWER: u32 = 16;
/// How deep atoms may nest before an expression is given up as unknown.
const MAX_DEPTH: u32 = 16;

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    Static(i64),
    Symbolic(Expr),
    Unknown,
}

/// What cannot be expanded into a polynomial.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    Symbol(Arc<str>),
    /// An operation on two polynomials: floor division, floor remainder, minimum, maximum.
    Op(AtomOp, Box<(Expr, Expr)>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AtomOp {
    FloorDiv,
    Mod,
    Min,
    Max,
}

/// A product of atoms, each as often as its exponent says; the empty product is 1.
type Monomial = BTreeMap<Atom, u32>;

/// A polynomial in canonical form: no zero coefficients.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Expr {
    terms: BTreeMap<Monomial, i64>,
}

impl Expr {
    pub fn constant(value: i64) -> Expr {
        let mut terms = BTreeMap::new();
        if value != 0 {
            terms.insert(Monomial::new(), value);
        }
        Expr { terms }
    }

    pub fn symbol(name: impl Into<Arc<str>>) -> Expr {
        Expr::atom(Atom::Symbol(name.into()))
    }

    fn atom(atom: Atom) -> Expr {
        Expr { terms: BTreeMap::from([(BTreeMap::from([(atom, 1)]), 1)]) }
    }

    /// The value, where this is a plain number.
    pub fn as_constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Monomial::new()).copied(),
            _ => None,
        }
    }

    /// The name, where this is just a named dimension.
    pub fn as_symbol(&self) -> Option<&Arc<str>> {
        let (monomial, &1) = self.terms.iter().next()? else { return None };
        match monomial.iter().next()? {
            (Atom::Symbol(name), 1) if self.terms.len() == 1 && monomial.len() == 1 => Some(name),
            _ => None,
        }
    }

    /// The operation and its operands, where this is just one that polynomials cannot express.
    pub fn as_op(&self) -> Option<(AtomOp, &Expr, &Expr)> {
        let (monomial, &1) = self.terms.iter().next()? else { return None };
        match monomial.iter().next()? {
            (Atom::Op(op, args), 1) if self.terms.len() == 1 && monomial.len() == 1 => {
                Some((*op, &args.0, &args.1))
            }
            _ => None,
        }
    }

    /// Whether this is zero or more for certain, given that named dimensions are.
    pub fn is_nonnegative(&self) -> bool {
        let atom = |(atom, power): (&Atom, &u32)| power % 2 == 0 || atom.is_nonnegative();
        self.terms.iter().all(|(monomial, &coefficient)| coefficient > 0 && monomial.iter().all(atom))
    }

    fn depth(&self) -> u32 {
        let atoms = self.terms.keys().flat_map(|m| m.keys());
        let depth = |atom: &Atom| match atom {
            Atom::Symbol(_) => 0,
            Atom::Op(_, args) => 1 + args.0.depth().max(args.1.depth()),
        };
        atoms.map(depth).max().unwrap_or(0)
    }

    fn size(&self) -> usize {
        let atom = |atom: &Atom| match atom {
            Atom::Symbol(_) => 1,
            Atom::Op(_, args) => 1 + args.0.size() + args.1.size(),
        };
        self.terms.keys().map(|monomial| 1 + monomial.keys().map(atom).sum::<usize>()).sum()
    }

    fn checked(self) -> Option<Expr> {
        (self.terms.len() <= MAX_TERMS && self.size() <= MAX_SIZE).then_some(self)
    }

    pub fn add(&self, other: &Expr) -> Option<Expr> {
        self.clone().plus(other)?.checked()
    }

    fn plus(self, other: &Expr) -> Option<Expr> {
        let mut terms = self.terms;
        for (monomial, coefficient) in &other.terms {
            let slot = terms.entry(monomial.clone()).or_insert(0);
            *slot = slot.checked_add(*coefficient)?;
            if *slot == 0 {
                terms.remove(monomial);
            }
        }
        Some(Expr { terms })
    }

    pub fn neg(&self) -> Option<Expr> {
        self.scale(-1)
    }

    pub fn sub(&self, other: &Expr) -> Option<Expr> {
        self.add(&other.neg()?)
    }

    fn scale(&self, by: i64) -> Option<Expr> {
        let scaled = self.terms.iter().map(|(m, c)| Some((m.clone(), c.checked_mul(by)?)));
        Some(Expr { terms: if by == 0 { BTreeMap::new() } else { scaled.collect::<Option<_>>()? } })
    }

    pub fn mul(&self, other: &Expr) -> Option<Expr> {
        if self.terms.len() * other.terms.len() > 4 * MAX_TERMS {
            return None;
        }
        let mut product = Expr::default();
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                let mut monomial = left.clone();
                for (atom, power) in right {
                    let slot = monomial.entry(atom.clone()).or_insert(0);
                    *slot = slot.checked_add(*power).filter(|&power| power <= MAX_POWER)?;
                }
                let term = Expr { terms: BTreeMap::from([(monomial, a.checked_mul(*b)?)]) };
                product = product.plus(&term)?;
            }
        }
        product.checked()
    }

    /// `self / other`, where it divides without a remainder as polynomials (by a single term).
    pub fn div_exact(&self, other: &Expr) -> Option<Expr> {
        if self == other && !other.terms.is_empty() {
            return Some(Expr::constant(1));
        }
        let (divisor, &coefficient) = other.terms.iter().next()?;
        if other.terms.len() != 1 {
            return None;
        }
        let mut terms = BTreeMap::new();
        for (monomial, c) in &self.terms {
            if c.checked_rem(coefficient)? != 0 {
                return None;
            }
            let mut quotient = monomial.clone();
            for (atom, power) in divisor {
                let left = quotient.get(atom).copied().unwrap_or(0).checked_sub(*power)?;
                match left {
                    0 => quotient.remove(atom),
                    _ => quotient.insert(atom.clone(), left),
                };
            }
            terms.insert(quotient, c / coefficient);
        }
        Some(Expr { terms })
    }

    fn op(op: AtomOp, left: &Expr, right: &Expr) -> Option<Expr> {
        let expr = Expr::atom(Atom::Op(op, Box::new((left.clone(), right.clone()))));
        expr.checked().filter(|expr| expr.depth() <= MAX_DEPTH)
    }

    /// Replaces named dimensions by what `lookup` gives for them.
    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Expr>) -> Option<Expr> {
        self.rebuild(lookup, &apply)
    }

    /// What this is where `bound` is known not to exceed `cap`: the smaller of `cap` and something that
    /// is at most `bound` is that something.
    pub fn assume_at_most(&self, bound: &Expr, cap: i64) -> Option<Expr> {
        self.rebuild(&|_| None, &|op, a, b| match (op, a.as_constant(), b.as_constant()) {
            (AtomOp::Min, Some(k), None) if k >= cap && at_least(bound, b) => Some(b.clone()),
            (AtomOp::Min, None, Some(k)) if k >= cap && at_least(bound, a) => Some(a.clone()),
            _ => apply(op, a, b),
        })
    }

    fn rebuild(
        &self,
        symbol: &dyn Fn(&str) -> Option<Expr>,
        op: &dyn Fn(AtomOp, &Expr, &Expr) -> Option<Expr>,
    ) -> Option<Expr> {
        let mut sum = Expr::default();
        for (monomial, coefficient) in &self.terms {
            let mut product = Expr::constant(*coefficient);
            for (atom, power) in monomial {
                let factor = match atom {
                    Atom::Symbol(name) => symbol(name).unwrap_or_else(|| Expr::atom(atom.clone())),
                    Atom::Op(kind, args) => {
                        let (a, b) = (args.0.rebuild(symbol, op)?, args.1.rebuild(symbol, op)?);
                        op(*kind, &a, &b)?
                    }
                };
                for _ in 0..*power {
                    product = product.mul(&factor)?;
                }
            }
            sum = sum.add(&product)?;
        }
        Some(sum)
    }

    /// Adds the names of all dimensions in here to `names`.
    pub fn symbols(&self, names: &mut Vec<Arc<str>>) {
        for atom in self.terms.keys().flat_map(|m| m.keys()) {
            match atom {
                Atom::Symbol(name) if !names.contains(name) => names.push(name.clone()),
                Atom::Symbol(_) => {}
                Atom::Op(_, args) => {
                    args.0.symbols(names);
                    args.1.symbols(names);
                }
            }
        }
    }
}

impl Atom {
    fn is_nonnegative(&self) -> bool {
        match self {
            Atom::Symbol(_) => true,
            Atom::Op(AtomOp::Mod, args) => args.1.is_nonnegative(),
            Atom::Op(AtomOp::Max, args) => args.0.is_nonnegative() || args.1.is_nonnegative(),
            Atom::Op(_, args) => args.0.is_nonnegative() && args.1.is_nonnegative(),
        }
    }
}

/// Whether `a` is at least `b` for certain.
fn at_least(a: &Expr, b: &Expr) -> bool {
    a.sub(b).is_some_and(|difference| difference.is_nonnegative())
}

/// The operation on numbers or polynomials; kept as an atom where it cannot be worked out.
fn apply(op: AtomOp, a: &Expr, b: &Expr) -> Option<Expr> {
    if let (Some(x), Some(y)) = (a.as_constant(), b.as_constant()) {
        return Some(Expr::constant(match op {
            AtomOp::FloorDiv => floor_div(x, y)?,
            AtomOp::Mod => x.checked_sub(floor_div(x, y)?.checked_mul(y)?)?,
            AtomOp::Min => x.min(y),
            AtomOp::Max => x.max(y),
        }));
    }
    match op {
        AtomOp::FloorDiv => a.div_exact(b).or_else(|| Expr::op(op, a, b)),
        AtomOp::Mod if a.div_exact(b).is_some() => Some(Expr::default()),
        AtomOp::Min | AtomOp::Max if at_least(a, b) => Some(if op == AtomOp::Max { a } else { b }.clone()),
        AtomOp::Min | AtomOp::Max if at_least(b, a) => Some(if op == AtomOp::Max { b } else { a }.clone()),
        AtomOp::Min | AtomOp::Max if a > b => Expr::op(op, b, a),
        _ => Expr::op(op, a, b),
    }
}

fn floor_div(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

impl Dim {
    pub fn symbol(name: impl Into<Arc<str>>) -> Dim {
        Dim::Symbolic(Expr::symbol(name))
    }

    pub fn is_static(&self) -> bool {
        matches!(self, Dim::Static(_))
    }

    pub fn is_known(&self) -> bool {
        !matches!(self, Dim::Unknown)
    }

    pub fn value(&self) -> Option<i64> {
        match self {
            Dim::Static(n) => Some(*n),
            _ => None,
        }
    }

    /// As a polynomial; `None` where unknown.
    pub fn expr(&self) -> Option<Expr> {
        match self {
            Dim::Static(n) => Some(Expr::constant(*n)),
            Dim::Symbolic(e) => Some(e.clone()),
            Dim::Unknown => None,
        }
    }

    /// Whether this is zero or more for certain, given that named dimensions are.
    pub fn is_nonnegative(&self) -> bool {
        match self {
            Dim::Static(n) => *n >= 0,
            Dim::Symbolic(expr) => expr.is_nonnegative(),
            Dim::Unknown => false,
        }
    }

    fn binary(&self, other: &Dim, f: impl Fn(&Expr, &Expr) -> Option<Expr>) -> Dim {
        match (self.expr(), other.expr()) {
            (Some(a), Some(b)) => f(&a, &b).map_or(Dim::Unknown, Dim::from),
            _ => Dim::Unknown,
        }
    }

    pub fn add(&self, other: &Dim) -> Dim {
        self.binary(other, Expr::add)
    }

    pub fn sub(&self, other: &Dim) -> Dim {
        self.binary(other, Expr::sub)
    }

    pub fn mul(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Static(0), _) | (_, Dim::Static(0)) => Dim::Static(0),
            _ => self.binary(other, Expr::mul),
        }
    }

    /// Rounded down.
    pub fn floor_div(&self, other: &Dim) -> Dim {
        self.binary(other, |a, b| apply(AtomOp::FloorDiv, a, b))
    }

    /// Rounded up.
    pub fn ceil_div(&self, other: &Dim) -> Dim {
        self.div_exact(other).unwrap_or_else(|| self.add(&other.sub(&Dim::Static(1))).floor_div(other))
    }

    pub fn rem(&self, other: &Dim) -> Dim {
        self.binary(other, |a, b| apply(AtomOp::Mod, a, b))
    }

    /// The smaller of two. (`min` would be `Ord`'s, which orders expressions, not sizes.)
    pub fn smaller(&self, other: &Dim) -> Dim {
        self.binary(other, |a, b| apply(AtomOp::Min, a, b))
    }

    /// The larger of two.
    pub fn larger(&self, other: &Dim) -> Dim {
        self.binary(other, |a, b| apply(AtomOp::Max, a, b))
    }

    /// `self / other` where that leaves no remainder for certain.
    pub fn div_exact(&self, other: &Dim) -> Option<Dim> {
        self.expr()?.div_exact(&other.expr()?).map(Dim::from)
    }

    /// See `Expr::assume_at_most`.
    pub fn assume_at_most(&self, bound: &Expr, cap: i64) -> Dim {
        match self {
            Dim::Symbolic(e) => e.assume_at_most(bound, cap).map_or(Dim::Unknown, Dim::from),
            other => other.clone(),
        }
    }

    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Expr>) -> Dim {
        match self {
            Dim::Symbolic(e) => e.substitute(lookup).map_or(Dim::Unknown, Dim::from),
            other => other.clone(),
        }
    }
}

impl From<Expr> for Dim {
    fn from(expr: Expr) -> Dim {
        expr.as_constant().map_or(Dim::Symbolic(expr), Dim::Static)
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::Static(value)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // The constant comes last, as people write it.
        let (constant, rest): (Vec<_>, Vec<_>) = self.terms.iter().partition(|(m, _)| m.is_empty());
        for (i, (monomial, coefficient)) in rest.into_iter().chain(constant).enumerate() {
            match (i, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = coefficient.unsigned_abs();
            let mut factors = Vec::new();
            if magnitude != 1 || monomial.is_empty() {
                factors.push(magnitude.to_string());
            }
            for (atom, power) in monomial {
                factors.extend((0..*power).map(|_| atom.to_string()));
            }
            f.write_str(&factors.join("*"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => f.write_str(name),
            Atom::Op(op, args) => {
                let name = match op {
                    AtomOp::FloorDiv => "floor_div",
                    AtomOp::Mod => "mod",
                    AtomOp::Min => "min",
                    AtomOp::Max => "max",
                };
                write!(f, "{name}({}, {})", args.0, args.1)
            }
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Static(n) => write!(f, "{n}"),
            Dim::Symbolic(e) => write!(f, "{e}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
