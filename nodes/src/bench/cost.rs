//! What processes of this machine have used of its processors.

use std::time::Duration;

/// The kernel's unit in `/proc/PID/stat`: a hundredth of a second, on every Linux that we know.
const TICKS_PER_SECOND: u64 = 100;

/// Processes, by their numbers.
#[derive(Clone, Debug)]
pub(super) struct Processes(pub(super) Vec<u32>);

impl Processes {
    /// Their processor time until now; nothing if there are none, or one is gone.
    pub(super) fn used(&self) -> Option<Duration> {
        let ticks: Vec<u64> = self.0.iter().map(|pid| ticks(*pid)).collect::<Option<_>>()?;
        (!ticks.is_empty()).then(|| Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / TICKS_PER_SECOND))
    }
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything; what follows it is numbers. User and system time are the 14th and 15th.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_processor_time_and_a_process_that_is_gone_has_none() {
        let own = Processes(vec![std::process::id()]);
        let before = own.used().expect("this process is there");
        let mut sum = 0_u64;
        while own.used().expect("still there") == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(Processes(Vec::new()).used(), None);
        assert_eq!(Processes(vec![u32::MAX]).used(), None);
    }
}
