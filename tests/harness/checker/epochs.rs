//! Epochs: each has one primary, who is the only one to speak in its name, and everybody is told of it once.
//!
//! Promises: what was seen in any order is judged as soon as it contradicts something seen before.
//! Leaves out: who should be the primary, and how long it takes.

use std::collections::BTreeMap;
use std::fmt;

/// All that was seen of epochs so far.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    primaries: BTreeMap<u64, String>,
    /// How often each was told of each.
    told: BTreeMap<u64, BTreeMap<String, u64>>,
    /// Epochs in which somebody was served.
    served: BTreeMap<u64, u64>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochFault {
    /// An epoch has two primaries.
    TwoPrimaries {
        /// The epoch.
        epoch: u64,
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// Somebody was told of an epoch twice.
    ToldTwice {
        /// The epoch.
        epoch: u64,
        /// Who.
        who: String,
    },
    /// Somebody was not told of an epoch in which there was service.
    NotTold {
        /// The epoch.
        epoch: u64,
        /// Who.
        who: String,
    },
}

impl fmt::Display for EpochFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EpochFault::TwoPrimaries { epoch, one, other } => {
                write!(f, "epoch {epoch} has two primaries: {one}, {other}")
            }
            EpochFault::ToldTwice { epoch, who } => write!(f, "{who} was told twice of epoch {epoch}"),
            EpochFault::NotTold { epoch, who } => write!(f, "{who} was not told of epoch {epoch}"),
        }
    }
}

impl Epochs {
    /// Somebody is, or was, the primary of an epoch.
    ///
    /// # Errors
    /// [`EpochFault::TwoPrimaries`].
    pub fn held(&mut self, epoch: u64, primary: &str) -> Result<(), EpochFault> {
        let one = self.primaries.entry(epoch).or_insert_with(|| primary.to_owned());
        if one == primary {
            return Ok(());
        }
        Err(EpochFault::TwoPrimaries { epoch, one: one.clone(), other: primary.to_owned() })
    }

    /// A primary served somebody in its epoch.
    ///
    /// # Errors
    /// [`EpochFault::TwoPrimaries`].
    pub fn served(&mut self, epoch: u64, primary: &str) -> Result<(), EpochFault> {
        *self.served.entry(epoch).or_default() += 1;
        self.held(epoch, primary)
    }

    /// A primary told somebody of its epoch.
    ///
    /// # Errors
    /// [`EpochFault::TwoPrimaries`], [`EpochFault::ToldTwice`].
    pub fn told(&mut self, epoch: u64, primary: &str, who: &str) -> Result<(), EpochFault> {
        self.held(epoch, primary)?;
        let times = self.told.entry(epoch).or_default().entry(who.to_owned()).or_default();
        *times += 1;
        if *times > 1 { Err(EpochFault::ToldTwice { epoch, who: who.to_owned() }) } else { Ok(()) }
    }

    /// Whether each of `audience` was told of every epoch after `since` in which there was service.
    ///
    /// # Errors
    /// [`EpochFault::NotTold`].
    pub fn all_told(&self, audience: &[&str], since: u64) -> Result<(), EpochFault> {
        for epoch in self.served.keys().filter(|epoch| **epoch > since) {
            let told = self.told.get(epoch);
            if let Some(who) = audience.iter().find(|who| !told.is_some_and(|told| told.contains_key(**who))) {
                return Err(EpochFault::NotTold { epoch: *epoch, who: (*who).to_owned() });
            }
        }
        Ok(())
    }

    /// Whose the newest epoch is that was seen.
    pub fn newest_primary(&self) -> Option<&str> {
        self.primaries.last_key_value().map(|(_, primary)| primary.as_str())
    }

    /// The newest epoch that was seen.
    pub fn newest(&self) -> u64 {
        self.primaries.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_one_primary_whoever_says_so() {
        let mut epochs = Epochs::default();
        assert_eq!((epochs.held(1, "a"), epochs.served(1, "a"), epochs.held(2, "b")), (Ok(()), Ok(()), Ok(())));
        assert!(matches!(epochs.served(1, "b"), Err(EpochFault::TwoPrimaries { epoch: 1, .. })));
        assert_eq!(epochs.newest(), 2);
    }

    #[test]
    fn everybody_is_told_of_each_epoch_with_service_once() {
        let mut epochs = Epochs::default();
        epochs.served(1, "a").expect("the first");
        epochs.held(2, "b").expect("nobody was served");
        epochs.served(3, "a").expect("the third");
        assert_eq!(epochs.told(3, "a", "x"), Ok(()));
        assert_eq!(epochs.all_told(&["x"], 1), Ok(()));
        assert_eq!(epochs.all_told(&["x", "y"], 1), Err(EpochFault::NotTold { epoch: 3, who: "y".into() }));
        assert_eq!(epochs.told(3, "a", "x"), Err(EpochFault::ToldTwice { epoch: 3, who: "x".into() }));
    }
}
