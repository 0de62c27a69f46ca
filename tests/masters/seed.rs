//! The seed of a test's random choices, shown when the test fails.

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The seed of one test run: `QUORATE_SEED`, or a random one.
pub(crate) struct Seed {
    number: u64,
    test: String,
}

impl Seed {
    pub(crate) fn new() -> Seed {
        let given = std::env::var("QUORATE_SEED").ok().map(|text| text.parse().expect("QUORATE_SEED is a number"));
        let test = std::thread::current().name().unwrap_or("").to_owned();
        let seed = Seed { number: given.unwrap_or_else(rand::random), test };
        println!("{}", seed.replay());
        seed
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.number)
    }

    fn replay(&self) -> String {
        let Seed { number, test } = self;
        format!(
            "seed {number}; again: QUORATE_SEED={number} cargo test -p quorate-tests --test masters -- --nocapture \
             --include-ignored --exact {test}"
        )
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}", self.replay());
        }
    }
}
