//! The seed of a test's random choices, shown when the test fails.

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The seed of one test run. Prints how to run the test again with it, at once and when the test fails.
#[derive(Debug)]
pub struct Seed {
    number: u64,
    replay: String,
}

impl Seed {
    /// `QUORATE_SEED`, or a random one. `binary` is the name of the test binary, of the package `quorate-tests`.
    ///
    /// # Panics
    /// When `QUORATE_SEED` is not a number.
    pub fn of(binary: &str) -> Seed {
        Seed::of_package("quorate-tests", binary)
    }

    /// The same for the test binary of another package.
    ///
    /// # Panics
    /// When `QUORATE_SEED` is not a number.
    pub fn of_package(package: &str, binary: &str) -> Seed {
        let given = std::env::var("QUORATE_SEED").ok().map(|text| text.parse().expect("QUORATE_SEED is a number"));
        let number = given.unwrap_or_else(rand::random);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("");
        let replay = format!(
            "seed {number}; again: QUORATE_SEED={number} cargo test -p {package} --test {binary} -- --nocapture \
             --include-ignored --exact {test}"
        );
        println!("{replay}");
        Seed { number, replay }
    }

    /// The seed itself.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One of many independent generators that follow from the seed.
    pub fn rng(&self, stream: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.number ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}", self.replay);
        }
    }
}
