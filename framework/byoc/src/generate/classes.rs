//! Sets of values that share something, joined one by one.

pub struct Classes(Vec<usize>);

impl Classes {
    pub fn new(count: usize) -> Classes {
        Classes((0..count).collect())
    }

    /// The first of those that share with `value`.
    pub fn of(&self, mut value: usize) -> usize {
        while self.0[value] != value {
            value = self.0[value];
        }
        value
    }

    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}
