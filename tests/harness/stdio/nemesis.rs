//! What breaks the nodes and the network while they are used.
//!
//! Each kind of fault comes and goes by itself, each time after a random while of the same mean. Whom it befalls is random.
//! All of that follows from the seed.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::network::{Cuts, Network, Split, Weather};
use super::processes::{Nodes, Trouble};
use super::record::{OpenFault, Record};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// Nodes that do not hear each other.
    Partition,
    /// Nodes killed with SIGKILL, and started again with the same arguments.
    Kill,
    /// Nodes stopped with SIGSTOP, which go on later.
    Pause,
    /// Messages between nodes take ten times as long; 50 ms where they take no time.
    Slow,
    /// Half of the messages between nodes are lost.
    Flaky,
    /// Half of the messages between nodes arrive twice.
    Duplicate,
    /// Another partition in two, at random, every second or a little more; without pauses between them.
    Splits,
    /// Every five seconds all nodes are killed, and started again a second later.
    Blackouts,
}

/// How many nodes are killed or paused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Targets {
    /// One.
    One,
    /// Some, but fewer than half.
    Minority,
    /// More than half, but not all.
    Majority,
    /// All.
    All,
}

impl Targets {
    /// All of them.
    pub const ANY: [Targets; 4] = [Targets::One, Targets::Minority, Targets::Majority, Targets::All];

    fn choose(self, nodes: &[String], random: &mut SmallRng) -> Vec<String> {
        let count = nodes.len();
        let how_many = match self {
            Targets::One => 1,
            Targets::Minority => random.random_range(1..=(count.saturating_sub(1) / 2).max(1)),
            Targets::Majority => random.random_range(count / 2 + 1..=(count.saturating_sub(1)).max(count / 2 + 1)),
            Targets::All => count,
        };
        let mut chosen = nodes.to_vec();
        chosen.shuffle(random);
        chosen.truncate(how_many);
        chosen.sort();
        chosen
    }
}

/// How nodes are broken.
#[derive(Clone, Debug)]
pub struct NemesisOptions {
    /// In which ways.
    pub faults: Vec<Fault>,
    /// The mean time until a fault comes, and until it goes.
    pub interval: Duration,
    /// How partitions run.
    pub splits: Vec<Split>,
    /// How many nodes are killed or paused.
    pub targets: Vec<Targets>,
}

impl Default for NemesisOptions {
    fn default() -> Self {
        NemesisOptions {
            faults: Vec::new(),
            interval: Duration::from_secs(10),
            splits: Split::ALL.to_vec(),
            targets: Targets::ANY.to_vec(),
        }
    }
}

/// What a nemesis breaks.
#[derive(Clone)]
pub(super) struct Victims {
    pub(super) names: Arc<[String]>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) network: Network,
    pub(super) weather: Weather,
    pub(super) record: Record,
}

/// One kind of fault, come and gone.
pub(super) struct Nemesis {
    fault: Fault,
    options: NemesisOptions,
    victims: Victims,
    random: SmallRng,
    /// True when it is over.
    over: watch::Receiver<bool>,
}

/// A fault that has come, and whom it has befallen.
struct Come {
    /// Missing if it has befallen nobody, as a third of three nodes less one.
    open: Option<OpenFault>,
    targets: Vec<String>,
}

impl Nemesis {
    pub(super) fn new(
        fault: Fault,
        options: NemesisOptions,
        victims: Victims,
        seed: u64,
        over: watch::Receiver<bool>,
    ) -> Nemesis {
        // A stream of its own, so that one kind's schedule does not depend on which others there are.
        let random = SmallRng::seed_from_u64(seed ^ (fault as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Nemesis { fault, options, victims, random, over }
    }

    /// Breaks and mends until it is over. What is broken then stays so, unless `heal`.
    ///
    /// # Errors
    /// [`Trouble`] when a node that was killed does not start again.
    pub(super) async fn run(mut self, heal: bool) -> Result<(), Trouble> {
        loop {
            let wait = self.until_it_comes();
            if self.is_over_within(wait).await {
                return Ok(());
            }
            let come = self.come().await;
            let stay = self.until_it_goes();
            let is_over = self.is_over_within(stay).await;
            if !is_over || heal {
                self.go(come).await?;
            }
            if is_over {
                return Ok(());
            }
        }
    }

    fn until_it_comes(&mut self) -> Duration {
        match self.fault {
            Fault::Splits => Duration::ZERO,
            Fault::Blackouts => Duration::from_secs(5),
            _ => self.options.interval.mul_f64(self.random.random_range(0.0..2.0)),
        }
    }

    fn until_it_goes(&mut self) -> Duration {
        match self.fault {
            Fault::Splits => Duration::from_millis(self.random.random_range(1000..1200)),
            Fault::Blackouts => Duration::from_secs(1),
            _ => self.options.interval.mul_f64(self.random.random_range(0.0..2.0)),
        }
    }

    async fn is_over_within(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = sleep_until(Instant::now() + time) => false,
            _ = self.over.wait_for(|over| *over) => true,
        }
    }

    fn targets(&mut self) -> Vec<String> {
        let targets = self.options.targets.choose(&mut self.random).copied().unwrap_or(Targets::One);
        targets.choose(&self.victims.names, &mut self.random)
    }

    fn split(&mut self) -> Cuts {
        let names = &self.victims.names;
        if self.fault == Fault::Splits {
            let (one, other): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|_| self.random.random_bool(0.5));
            return Cuts::between((&one, &other));
        }
        let split = self.options.splits.choose(&mut self.random).copied().unwrap_or(Split::One);
        split.cuts(names, &mut self.random)
    }

    async fn come(&mut self) -> Come {
        let mut nobody = false;
        let (kind, targets) = match self.fault {
            Fault::Partition | Fault::Splits => {
                let cuts = self.split();
                let deaf = cuts.deaf();
                nobody = deaf.is_empty();
                self.victims.network.cut(cuts);
                ("partition", deaf)
            }
            Fault::Kill | Fault::Blackouts => {
                let targets = if self.fault == Fault::Kill { self.targets() } else { self.victims.names.to_vec() };
                self.victims.nodes.kill(&targets).await;
                ("kill", targets)
            }
            Fault::Pause => {
                let targets = self.targets();
                self.victims.nodes.pause(&targets).await;
                ("pause", targets)
            }
            Fault::Slow => {
                self.victims.network.set_weather(|weather| {
                    weather.latency = weather.latency.times(10);
                    if weather.latency.mean.is_zero() {
                        weather.latency.mean = Duration::from_millis(50);
                    }
                });
                ("slow", Vec::new())
            }
            Fault::Flaky => {
                self.victims.network.set_weather(|weather| weather.lost = weather.lost.max(0.5));
                ("flaky", Vec::new())
            }
            Fault::Duplicate => {
                self.victims.network.set_weather(|weather| weather.doubled = weather.doubled.max(0.5));
                ("duplicate", Vec::new())
            }
        };
        let open = (!nobody).then(|| self.victims.record.begin_fault(kind, targets.clone()));
        Come { open, targets }
    }

    async fn go(&mut self, come: Come) -> Result<(), Trouble> {
        let Victims { nodes, network, weather, record, .. } = &self.victims;
        match self.fault {
            Fault::Partition | Fault::Splits => network.cut(Cuts::default()),
            Fault::Kill | Fault::Blackouts => nodes.start(&come.targets).await?,
            Fault::Pause => nodes.resume(&come.targets).await,
            Fault::Slow => network.set_weather(|now| now.latency = weather.latency),
            Fault::Flaky => network.set_weather(|now| now.lost = weather.lost),
            Fault::Duplicate => network.set_weather(|now| now.doubled = weather.doubled),
        }
        if let Some(open) = come.open {
            record.end_fault(open);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_nodes_are_chosen_as_was_asked_for() {
        let mut random = SmallRng::seed_from_u64(3);
        for count in 1..8 {
            let nodes: Vec<_> = (0..count).map(|nth| format!("n{nth}")).collect();
            for _ in 0..50 {
                let mut chosen = |targets: Targets| targets.choose(&nodes, &mut random).len();
                assert_eq!((chosen(Targets::One), chosen(Targets::All)), (1, count));
                let (minority, majority) = (chosen(Targets::Minority), chosen(Targets::Majority));
                assert!(minority == 1 || minority * 2 < count, "{minority} of {count}");
                assert!(majority * 2 > count && (majority < count || count < 3), "{majority} of {count}");
            }
        }
    }
}
