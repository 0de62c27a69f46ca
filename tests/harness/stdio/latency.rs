//! How long a message between nodes is on its way.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// The shape of the latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Distribution {
    /// Each message takes the mean.
    #[default]
    Constant,
    /// Whole milliseconds from 0 to twice the mean, without that.
    Uniform,
    /// Most take less than the mean, a few several times as long.
    Exponential,
}

/// Random latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Their mean.
    pub mean: Duration,
    /// Their shape.
    pub distribution: Distribution,
}

impl Latency {
    /// The latency of one message.
    pub fn sample(&self, random: &mut SmallRng) -> Duration {
        if self.mean.is_zero() {
            return Duration::ZERO;
        }
        match self.distribution {
            Distribution::Constant => self.mean,
            Distribution::Uniform => {
                let limit = u64::try_from(self.mean.as_millis() * 2).unwrap_or(u64::MAX).max(1);
                Duration::from_millis(random.random_range(0..limit))
            }
            Distribution::Exponential => {
                let uniform: f64 = random.random_range(0.0..1.0);
                self.mean.mul_f64(-(1.0 - uniform).ln())
            }
        }
    }

    /// The same shape, so many times as slow.
    pub fn times(self, factor: u32) -> Latency {
        Latency { mean: self.mean * factor, ..self }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn samples(mean_ms: u64, distribution: Distribution) -> Vec<Duration> {
        let latency = Latency { mean: Duration::from_millis(mean_ms), distribution };
        let mut random = SmallRng::seed_from_u64(7);
        let mut samples: Vec<_> = (0..20_000).map(|_| latency.sample(&mut random)).collect();
        samples.sort_unstable();
        samples
    }

    fn mean_ms(samples: &[Duration]) -> f64 {
        samples.iter().sum::<Duration>().as_secs_f64() * 1000.0 / samples.len() as f64
    }

    #[test]
    fn a_constant_latency_is_the_mean_and_none_is_none() {
        assert!(samples(30, Distribution::Constant).iter().all(|sample| *sample == Duration::from_millis(30)));
        for distribution in [Distribution::Constant, Distribution::Uniform, Distribution::Exponential] {
            assert!(samples(0, distribution).iter().all(Duration::is_zero));
        }
    }

    #[test]
    fn uniform_latencies_are_whole_milliseconds_below_twice_the_mean() {
        let samples = samples(20, Distribution::Uniform);
        assert!(samples.iter().all(|sample| sample.subsec_nanos() % 1_000_000 == 0));
        assert_eq!(samples.first(), Some(&Duration::ZERO));
        assert_eq!(samples.last(), Some(&Duration::from_millis(39)));
        assert!((mean_ms(&samples) - 19.5).abs() < 0.5);
    }

    #[test]
    fn exponential_latencies_have_the_mean_and_the_median_of_their_kind() {
        let samples = samples(100, Distribution::Exponential);
        assert!((mean_ms(&samples) - 100.0).abs() < 3.0);
        let median = samples[samples.len() / 2].as_secs_f64() * 1000.0;
        assert!((median - 69.3).abs() < 3.0, "{median}");
        assert!(samples.last() > Some(&Duration::from_millis(700)), "some take many times as long");
    }
}
