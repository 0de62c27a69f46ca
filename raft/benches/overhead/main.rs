//! What the library costs on top of openraft, in one run on one runtime: `cargo bench -p quorate --bench overhead`.
//!
//! Three replicas in this process, logs in memory, one small command; the bare group is openraft with the least store
//! and network that it runs on, as its own benchmark has it. Both kinds take turns, each time on a new group, so that
//! what else the machine does falls on both. Times are this machine's; the ratios are the result.
//!
//! Sections: `writes`, `start`, `reads`; name some after `--` to run only those. `profile` is for a profiler: nothing but
//! the library's writes.

#![allow(clippy::unwrap_used, missing_docs)]

mod bare;
mod measure;
mod ours;

use std::time::Duration;

use measure::{Operation, Rate, median, median_duration};

/// Concurrent writers or readers.
const CLIENTS: [usize; 4] = [1, 64, 1024, 4096];

/// How long and how often something is measured.
struct Effort {
    round: Duration,
    rounds: usize,
    starts: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is a test run: only show that everything works.
    let effort = if arguments.iter().any(|argument| argument == "--bench") {
        Effort { round: Duration::from_millis(1500), rounds: 5, starts: 20 }
    } else {
        Effort { round: Duration::from_millis(50), rounds: 1, starts: 2 }
    };
    let named: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let all = named.is_empty();
    let wanted = move |section: &str| named.is_empty() || named.iter().any(|name| name == section);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{} workers, {} rounds of {:?}", runtime.metrics().num_workers(), effort.rounds, effort.round);
    let sections = async move {
        if !all && wanted("profile") {
            return profile().await;
        }
        if wanted("writes") {
            writes(&effort).await;
        }
        if wanted("start") {
            start(&effort).await;
        }
        if wanted("reads") {
            reads(&effort).await;
        }
    };
    runtime.block_on(async { tokio::spawn(sections).await.unwrap() });
}

async fn writes(effort: &Effort) {
    println!("\nwrites on the leader       clients      writes/s     CPU us/write      ratio of rates, of CPU");
    for clients in CLIENTS {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            let group = bare::Group::start().await;
            bare.push(measure::during(effort.round, clients, group.writer()).await);
            group.stop().await;
            let group = ours::Group::start().await;
            ours.push(measure::during(effort.round, clients, group.writer()).await);
            group.stop().await;
        }
        let (bare, ours) = (median(&bare), median(&ours));
        line("openraft", clients, bare, "");
        let ratios = format!("{:.2}, {:.2}", ours.per_second / bare.per_second, ours.cpu_us / bare.cpu_us);
        line("quorate", clients, ours, &ratios);
    }
}

async fn profile() {
    let group = ours::Group::start().await;
    println!("a write's future takes {} bytes", size_of_val(&group.writer().run()));
    let clients = std::env::var("CLIENTS").map_or(1024, |clients| clients.parse().unwrap());
    let before = group.messages();
    let rate = measure::during(Duration::from_secs(8), clients, group.writer()).await;
    let messages = (group.messages() - before) as f64 / (rate.per_second * 9.6);
    line("quorate", clients, rate, &format!("{messages:.3} messages a write"));
    group.stop().await;
}

fn line(what: &str, clients: usize, rate: Rate, note: &str) {
    println!("{what:<24} {clients:>9} {:>13.0} {:>16.2}      {note}", rate.per_second, rate.cpu_us);
}

async fn start(effort: &Effort) {
    println!("\nfrom nothing to the first write of three replicas");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..effort.starts {
        let began = std::time::Instant::now();
        let group = bare::Group::start().await;
        group.writer().run().await;
        bare.push(began.elapsed());
        group.stop().await;
        let began = std::time::Instant::now();
        let group = ours::Group::start().await;
        group.writer().run().await;
        ours.push(began.elapsed());
        group.stop().await;
    }
    println!("openraft {:?}, quorate {:?} (medians)", median_duration(&bare), median_duration(&ours));
}

async fn reads(effort: &Effort) {
    println!("\nreads                      clients       reads/s      CPU us/read");
    for clients in CLIENTS {
        let mut linearizable = Vec::new();
        let mut bounded = Vec::new();
        let mut beside = 0.0;
        for _ in 0..effort.rounds {
            let group = ours::Group::start().await;
            linearizable.push(measure::during(effort.round, clients, group.linearizable_reader()).await);
            bounded.push(measure::during(effort.round, clients, group.bounded_reader()).await);
            let share = group.bounded_beside_a_writer(effort.round, clients).await;
            beside += share / effort.rounds as f64;
            group.stop().await;
        }
        line("linearizable, leader", clients, median(&linearizable), "");
        let note = format!("beside a writer {:.1}% were answered locally", beside * 100.0);
        line("100 ms, a follower", clients, median(&bounded), &note);
    }
}
