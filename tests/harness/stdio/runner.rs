//! A run from its beginning to its end: nodes started, workers at work, faults coming and going, all of it recorded.
//!
//! Promises: whatever way it ends, no process is left; what has happened by then is in the record.
//! Leaves out: what comes of it, which is judged afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::{join_all, try_join_all};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::client::Client;
use super::nemesis::{Nemesis, NemesisOptions, Victims};
use super::network::{Cuts, Network, Traffic, Weather};
use super::processes::{Nodes, Program, Trouble, Watch};
use super::record::Record;
use super::workload::{A_LITTLE, Caller, Next, Phase, Workload};
use crate::run::Run;

/// How long the last phase may take, and whatever is still being retried then.
const LAST_PHASE: Duration = Duration::from_secs(60);

/// How long the nodes have to find themselves after the last fault.
const RECOVERY: Duration = Duration::from_secs(30);

/// How a workload is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// The number of workers.
    pub workers: usize,
    /// The operations in a second, of all workers together, if the nodes are quick enough.
    pub rate: f64,
    /// How long operations are called.
    pub time_limit: Duration,
    /// What becomes of messages between nodes.
    pub weather: Weather,
    /// What is broken.
    pub nemesis: NemesisOptions,
    /// The mean time between an operator's deeds, in workloads that have one.
    pub operator_interval: Duration,
    /// Decides which operations each worker calls, when which fault comes and whom it befalls, and, message by message,
    /// latencies and losses. It does not decide what happens first where several things happen at once.
    pub seed: u64,
    /// How many things that happen to messages are remembered word for word.
    pub remembered: usize,
}

impl Settings {
    /// How long a client waits for an answer.
    pub fn client_timeout(&self) -> Duration {
        (self.weather.latency.mean * 10).max(Duration::from_secs(1))
    }
}

/// What has come of a run.
pub struct Finished {
    /// Everything that happened.
    pub run: Run,
    /// What was said, in numbers.
    pub traffic: Traffic,
    /// What was wrong with what nodes wrote.
    pub warnings: Vec<String>,
    /// Why it ended before its time, if it did.
    pub trouble: Option<Trouble>,
}

/// A run that can be begun.
pub struct Runner {
    settings: Settings,
    workload: Arc<dyn Workload>,
    watch: Watch,
    network: Network,
    record: Record,
    nodes: Arc<Nodes>,
    names: Arc<[String]>,
    started: SystemTime,
    /// The number of clients so far: each has a name of its own.
    clients: Mutex<usize>,
}

/// One after the other, each worker takes the moment of its next operation from here.
struct Pace {
    next: Instant,
    random: SmallRng,
    rate: f64,
}

impl Pace {
    /// When the next operation is due. What is late is not made up for.
    fn take(&mut self) -> Instant {
        let due = self.next.max(Instant::now());
        self.next = due + Duration::from_secs_f64(self.random.random_range(0.0..2.0) / self.rate.max(1e-3));
        due
    }
}

impl Runner {
    /// Prepares a run; nothing is started yet. To be called within a tokio runtime.
    pub fn new(settings: Settings, program: Program, workload: Arc<dyn Workload>, watch: Watch) -> Runner {
        let network = Network::new(settings.weather, settings.seed, settings.remembered);
        let record = Record::new(&network);
        let seats = workload.seats(&settings.nodes);
        let (timeout, workers) = (settings.client_timeout(), settings.workers);
        // Workers have the names from c0 on.
        let mut clients = workers;
        let host = || {
            clients += 1;
            Client::new(&network, format!("c{}", clients - 1), timeout)
        };
        let nodes = Arc::new(Nodes::new(&network, program, watch.clone(), seats, host));
        let names = settings.nodes.clone().into();
        let (started, clients) = (SystemTime::now(), Mutex::new(clients));
        Runner { settings, workload, watch, network, record, nodes, names, started, clients }
    }

    /// The record, to look at while it runs.
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    /// Runs, until time is up, something is wrong, or the watch is told of trouble.
    pub async fn run(self) -> Finished {
        let trouble = tokio::select! {
            biased;
            trouble = self.watch.raised() => Some(trouble),
            done = self.carry_out() => done.err(),
        };
        self.nodes.kill(&self.names).await;
        let Settings { nodes, workers, rate, time_limit, seed, .. } = &self.settings;
        let settings = serde_json::json!({
            "nodes": nodes,
            "concurrency": workers,
            "rate": rate,
            "time-limit": time_limit.as_secs_f64(),
            "latency": self.settings.weather.latency.mean.as_millis() as u64,
            "latency-dist": format!("{:?}", self.settings.weather.latency.distribution).to_lowercase(),
            "p-loss": self.settings.weather.lost,
            "p-duplicate": self.settings.weather.doubled,
            "nemesis": self.settings.nemesis.faults.iter().map(|fault| format!("{fault:?}").to_lowercase()).collect::<Vec<_>>(),
            "nemesis-interval": self.settings.nemesis.interval.as_secs_f64(),
            "seed": seed,
        });
        let run = Run {
            workload: self.workload.name().to_owned(),
            started: self.started,
            length: self.record.now(),
            settings,
            events: self.record.events(),
            faults: self.record.faults(),
            messages: self.network.messages(),
        };
        let (traffic, warnings) = (self.network.traffic(), self.watch.warnings());
        Finished { run, traffic, warnings, trouble }
    }

    fn client(&self) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        *clients += 1;
        Client::new(&self.network, format!("c{}", *clients - 1), self.settings.client_timeout())
    }

    async fn carry_out(&self) -> Result<(), Trouble> {
        self.record.enter("starting nodes");
        self.nodes.start(&self.names).await?;
        self.record.enter("preparing");
        self.workload.prepare(&mut self.client(), &self.names).await.map_err(Trouble::NotPrepared)?;

        let timeout = self.settings.client_timeout();
        let worker = |nth: usize| Worker {
            client: Client::new(&self.network, format!("c{nth}"), timeout),
            process: nth as u64,
            nth,
            calls: 0,
            random: SmallRng::seed_from_u64(
                self.settings.seed ^ (nth as u64 + 101).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ),
        };
        let mut workers: Vec<_> = (0..self.settings.workers).map(worker).collect();

        self.record.enter("load");
        let until = Instant::now() + self.settings.time_limit;
        let (is_over, over) = watch::channel(false);
        let heal = self.workload.has_last_phase();
        let load = async {
            let pace = self.pace();
            join_all(workers.iter_mut().map(|worker| worker.work(self, Phase::Load, Some(&pace), until))).await;
        };
        // What retries may need the faults to be mended, so these end with the load, not after it.
        let end = async {
            tokio::pin!(load);
            if timeout_at(until, &mut load).await.is_err() {
                is_over.send_replace(true);
                load.await;
            }
            is_over.send_replace(true);
            Ok(())
        };
        tokio::try_join!(end, self.torment(over.clone(), heal), self.operate(over))?;

        if self.workload.has_last_phase() {
            self.record.enter("last phase");
            let until = Instant::now() + LAST_PHASE;
            join_all(workers.iter_mut().map(|worker| worker.work(self, Phase::Last, None, until))).await;
        }
        self.record.enter("done");
        Ok(())
    }

    fn pace(&self) -> Mutex<Pace> {
        let random = SmallRng::seed_from_u64(self.settings.seed ^ 0x7061_6365);
        Mutex::new(Pace { next: Instant::now(), random, rate: self.settings.rate })
    }

    /// Lets all kinds of faults come and go until it is over.
    async fn torment(&self, over: watch::Receiver<bool>, heal: bool) -> Result<(), Trouble> {
        let victims = Victims {
            names: Arc::clone(&self.names),
            nodes: Arc::clone(&self.nodes),
            network: self.network.clone(),
            weather: self.settings.weather,
            record: self.record.clone(),
        };
        let options = &self.settings.nemesis;
        let run =
            |fault| Nemesis::new(fault, options.clone(), victims.clone(), self.settings.seed, over.clone()).run(heal);
        try_join_all(options.faults.iter().map(|fault| run(*fault))).await?;
        if heal {
            self.network.cut(Cuts::default());
        }
        Ok(())
    }

    /// Lets the operator do one thing after the other until it is over. None is left half done.
    async fn operate(&self, mut over: watch::Receiver<bool>) -> Result<(), Trouble> {
        if !self.workload.is_operated() {
            return Ok(());
        }
        let mut random = SmallRng::seed_from_u64(self.settings.seed ^ 0x6f70_6572);
        let mut client = self.client();
        loop {
            let wait = self.settings.operator_interval.mul_f64(random.random_range(0.0..2.0));
            tokio::select! {
                () = sleep(wait) => {}
                _ = over.wait_for(|over| *over) => return Ok(()),
            }
            let from = self.record.now();
            if let Some(deed) = self.workload.operate(&mut client, &self.names, &mut random).await {
                self.record.deed(deed, from);
            }
        }
    }
}

/// Calls one operation after the other.
struct Worker {
    client: Client,
    nth: usize,
    process: u64,
    calls: u64,
    random: SmallRng,
}

impl Worker {
    async fn work(&mut self, runner: &Runner, phase: Phase, pace: Option<&Mutex<Pace>>, until: Instant) {
        loop {
            if let Some(pace) = pace {
                let due = pace.lock().unwrap_or_else(PoisonError::into_inner).take();
                if due >= until {
                    return;
                }
                sleep_until(due).await;
            }
            let mut caller = self.caller(runner, until);
            let call = loop {
                if Instant::now() >= until {
                    return;
                }
                match runner.workload.next(phase, &caller, &mut self.random) {
                    Next::Call(call) => break call,
                    Next::Wait => sleep(A_LITTLE).await,
                    Next::Over => return,
                }
            };
            self.calls += 1;
            caller.nth = self.calls;
            runner.record.invoke(&caller, &call);
            let end = runner.workload.call(&mut self.client, &caller, &call).await;
            let is_unknown = end.kind == crate::run::EventKind::Info;
            runner.record.complete(&caller, &call, end);
            if is_unknown {
                // Whoever does not know what came of its last operation can be relied on for no order.
                self.process += runner.settings.workers as u64;
            }
        }
    }

    fn caller(&self, runner: &Runner, until: Instant) -> Caller {
        let node = (self.process % runner.names.len().max(1) as u64) as usize;
        Caller {
            worker: self.nth,
            workers: runner.settings.workers,
            process: self.process,
            nth: self.calls,
            node: runner.names.get(node).cloned().unwrap_or_default(),
            nodes: Arc::clone(&runner.names),
            until: until + RECOVERY,
        }
    }
}
