//! The random numbers of numpy's `RandomState`, so that a seed gives here what it gives in ONNX's own reference:
//! MT19937 (Matsumoto and Nishimura, 1998), doubles of 53 bits, normals by the polar method of Marsaglia.

const WORDS: usize = 624;
const MIDDLE: usize = 397;

pub(super) struct RandomState {
    words: [u32; WORDS],
    at: usize,
    /// The polar method makes normals in pairs.
    spare: Option<f64>,
}

impl RandomState {
    pub fn new(seed: u32) -> RandomState {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        RandomState { words, at: WORDS, spare: None }
    }

    /// Makes the next block of words.
    fn twist(&mut self) {
        for i in 0..WORDS {
            let joined = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + MIDDLE) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.at = 0;
    }

    fn next(&mut self) -> u32 {
        if self.at == WORDS {
            self.twist();
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform over [0, 1).
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (self.next() >> 5, self.next() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RandomState;

    /// `numpy.random.RandomState(42)`: `.rand(2)`, then `.randn(3)`.
    #[test]
    fn numbers_are_those_of_numpy() {
        let mut state = RandomState::new(42);
        assert_eq!([state.unit(), state.unit()], RAND);
        assert_eq!([state.normal(), state.normal(), state.normal()], RANDN);
    }

    const RAND: [f64; 2] = [0.3745401188473625, 0.9507143064099162];
    const RANDN: [f64; 3] = [0.6476885381006925, 1.5230298564080254, -0.23415337472333597];
}
