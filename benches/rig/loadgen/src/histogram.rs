//! [`Histogram`] records latencies and computes their quantiles with an error of at most 1.6%.

/// The number of buckets per power of two.
const EACH: u64 = 64;

pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; 60 * 64],
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, value: u64) {
        let doublings = u64::from(value.max(1).ilog2());
        let index = if value < EACH {
            value
        } else {
            // The six bits after the leading 1 bit select one of the 64 buckets of this power of
            // two.
            (doublings - 5) * EACH + ((value >> (doublings - 6)) - EACH)
        };
        self.buckets[usize::try_from(index).expect("a small number")] += 1;
        self.count += 1;
    }

    /// Returns the lower bound of the bucket that contains the quantile, or 0 if the histogram is
    /// empty.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let expected = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (index, count) in (0..).zip(&self.buckets) {
            seen += count;
            if seen >= expected.max(1) {
                return if index < EACH {
                    index
                } else {
                    (EACH + index % EACH) << (index / EACH - 1)
                };
            }
        }
        0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_accurate_to_one_part_in_sixty_four() {
        let mut histogram = Histogram::new();
        for value in 1..=1_000_000 {
            histogram.add(value);
        }
        for quantile in [0.001, 0.5, 0.99, 1.0] {
            let (is, expected) = (histogram.quantile(quantile) as f64, quantile * 1e6);
            assert!(
                (expected * (1.0 - 1.0 / 64.0) - 1.0..=expected).contains(&is),
                "{quantile}: {is}"
            );
        }
    }
}
