//! Server processes on free ports of this machine, with directories of their own; gone when the test is.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use quorate_nodes::server::proto::quorate_client::QuorateClient;
use quorate_nodes::server::proto::{Group, JoinRequest, StatusReply, StatusRequest};
use quorate_nodes::server::{Client, ClientTls, NodeAddress, ServerConfig};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// No file of a node whose disk fails can be written beyond this.
const BROKEN_DISK_BYTES: u64 = 4096;

/// Servers and their directory.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    config: ServerConfig,
    running: Vec<Option<Child>>,
    /// What else nodes are told when they start.
    pub(crate) flags: Vec<String>,
    /// How many nodes the cluster began with; the others joined it, each with a file of its own.
    founders: usize,
}

/// Addresses that nobody has at the moment.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address")).collect()
}

impl Cluster {
    /// Starts so many nodes with one group on all of them.
    pub(crate) async fn start(nodes: usize) -> Cluster {
        let mut cluster = Cluster::described(nodes);
        for nth in 0..nodes {
            cluster.spawn(nth);
        }
        cluster.join().await;
        cluster
    }

    /// Describes a cluster that does not run.
    pub(crate) fn described(nodes: usize) -> Cluster {
        Cluster::numbered(17, nodes)
    }

    /// Describes a cluster of this number that does not run.
    pub(crate) fn numbered(cluster: u64, nodes: usize) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let addresses = free_addresses(nodes * 2);
        let node = |nth: usize| NodeAddress {
            id: nth as u64 + 1,
            peer: addresses[nth * 2],
            client: addresses[nth * 2 + 1],
            http: None,
        };
        let config = ServerConfig { cluster, nodes: (0..nodes).map(node).collect(), ..ServerConfig::default() };
        std::fs::write(dir.path().join("quorate.toml"), toml::to_string(&config).expect("TOML")).expect("a file");
        Cluster { dir, config, running: (0..nodes).map(|_| None).collect(), founders: nodes, flags: Vec::new() }
    }

    /// Describes one more node, which is to join. Its file names the first nodes and itself.
    pub(crate) fn describe_another(&mut self) -> usize {
        let (nth, addresses) = (self.config.nodes.len(), free_addresses(2));
        let node = NodeAddress { id: nth as u64 + 1, peer: addresses[0], client: addresses[1], http: None };
        let mut own = self.config.clone();
        own.nodes.truncate(self.founders);
        own.nodes.push(node.clone());
        self.config.nodes.push(node);
        self.running.push(None);
        std::fs::write(self.file(nth), toml::to_string(&own).expect("TOML")).expect("a file");
        nth
    }

    fn file(&self, nth: usize) -> PathBuf {
        let name = if nth < self.founders { "quorate.toml".into() } else { format!("n{}.toml", nth + 1) };
        self.dir().join(name)
    }

    /// A node's id and addresses, as `ctl` takes them.
    pub(crate) fn addresses_of(&self, nth: usize) -> [String; 4] {
        let NodeAddress { peer, client, .. } = &self.config.nodes[nth];
        ["--peer".into(), peer.to_string(), "--client".into(), client.to_string()]
    }

    /// Runs `quorate ctl`, asking all nodes.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg("ctl").arg("--servers").arg(self.addresses().join(",")).args(arguments);
        command.stdin(Stdio::null()).output().expect("it runs")
    }

    /// Runs `quorate ctl`, which must succeed, and gives the JSON that it prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.ctl(&[&["--json"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{error}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Runs `quorate ctl`, which must fail, and gives what it says.
    pub(crate) fn refuse(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What a node says of itself, if it answers.
    pub(crate) async fn status(&self, nth: usize) -> Option<StatusReply> {
        let mut client = QuorateClient::connect(format!("http://{}", self.address(nth))).await.ok()?;
        Some(client.status(StatusRequest {}).await.ok()?.into_inner())
    }

    /// Changes the file that all nodes share, before they start.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut ServerConfig)) {
        change(&mut self.config);
        let text = toml::to_string(&self.config).expect("TOML");
        std::fs::write(self.dir().join("quorate.toml"), text).expect("a file");
    }

    /// What a node counts, as it shows it to monitors; `None` if it does not, or not yet.
    pub(crate) async fn metrics(&self, nth: usize) -> Option<String> {
        let mut stream = TcpStream::connect(self.config.nodes[nth].http?).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// What runs `quorate ctl` with these certificates, asking the first node.
    pub(crate) fn with_tls(&self, tls: &ClientTls, arguments: &[&str]) -> impl Fn() -> Output + use<> {
        let mut words = vec!["ctl".to_owned(), "--servers".into(), self.address(0)];
        for (flag, path) in [("--ca", &tls.ca), ("--cert", &tls.cert), ("--cert-key", &tls.key)] {
            words.extend(path.iter().flat_map(|path| [flag.to_owned(), path.to_string_lossy().into_owned()]));
        }
        words.extend(arguments.iter().map(ToString::to_string));
        move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
            command.args(&words).stdin(Stdio::null()).output().expect("it runs")
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self, nth: usize) -> PathBuf {
        self.dir().join(format!("n{}", nth + 1))
    }

    /// The command that runs a node.
    pub(crate) fn command(&self, nth: usize) -> Command {
        self.command_for("server", nth)
    }

    /// A command on a node's directory.
    pub(crate) fn command_for(&self, name: &str, nth: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg(name).arg("--config").arg(self.file(nth));
        command.arg("--node").arg((nth + 1).to_string()).arg("--data-dir").arg(self.data(nth));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a node that is expected to end by itself.
    pub(crate) fn run(&self, nth: usize, flags: &[&str]) -> Output {
        self.command(nth).args(flags).output().expect("it runs")
    }

    /// The command that starts a node, which is new if it has no data.
    fn starting(&self, nth: usize) -> Command {
        let mut command = self.command(nth);
        if !self.data(nth).exists() {
            command.arg(if nth < self.founders { "--init" } else { "--join" });
        }
        command.args(&self.flags).stdout(Stdio::null());
        command
    }

    fn log_file(&self, nth: usize) -> File {
        let path = self.dir().join(format!("n{}.log", nth + 1));
        File::options().create(true).append(true).open(path).expect("a log")
    }

    pub(crate) fn spawn(&mut self, nth: usize) {
        let child = self.starting(nth).stderr(self.log_file(nth)).spawn().expect("it starts");
        self.running[nth] = Some(child);
    }

    /// Starts a node whose standard input stays open, until [`Cluster::end_input`].
    pub(crate) fn spawn_with_input(&mut self, nth: usize) {
        let mut command = self.starting(nth);
        let child = command.stdin(Stdio::piped()).stderr(self.log_file(nth)).spawn().expect("it starts");
        self.running[nth] = Some(child);
    }

    pub(crate) fn end_input(&mut self, nth: usize) {
        self.running[nth].as_mut().expect("it runs").stdin.take().expect("an open input");
    }

    /// Starts a node whose disk can be broken.
    pub(crate) fn spawn_breakable(&mut self, nth: usize) {
        let node = self.starting(nth);
        // Whoever ignores this signal is told of a file that must not grow as of any other error of a write.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(node.get_program()).args(node.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // Through here, since a node whose files cannot grow could not write it itself.
        let (mut said, mut log) = (child.stderr.take().expect("it is piped"), self.log_file(nth));
        std::thread::spawn(move || std::io::copy(&mut said, &mut log));
        self.running[nth] = Some(child);
    }

    /// From now on no file of a node can grow beyond a little: every write behind that fails.
    pub(crate) fn break_disk(&self, nth: usize) {
        let child = self.running[nth].as_ref().expect("it runs");
        let limit = Rlimit { current: Some(BROKEN_DISK_BYTES), maximum: Some(BROKEN_DISK_BYTES) };
        prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit).expect("it is limited");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, nth: usize) {
        if let Some(mut child) = self.running[nth].take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().expect("it has ended");
        }
    }

    /// SIGTERM; waits until the process has ended, well.
    pub(crate) async fn terminate(&mut self, nth: usize) {
        let pid = Pid::from_child(self.running[nth].as_ref().expect("it runs"));
        kill_process(pid, Signal::TERM).expect("it is told to end");
        let status = self.ended(nth).await;
        assert!(status.success(), "{status}\n{}", self.log(nth));
    }

    /// Waits until a node has ended by itself, and says how.
    pub(crate) async fn ended(&mut self, nth: usize) -> ExitStatus {
        let begun = Instant::now();
        loop {
            let child = self.running[nth].as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("its status") {
                self.running[nth] = None;
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "node {} does not end:\n{}", nth + 1, self.log(nth));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn log(&self, nth: usize) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(self.dir().join(format!("n{}.log", nth + 1))) {
            file.read_to_string(&mut text).expect("its log");
        }
        text
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.config.nodes.iter().map(|node| node.client.to_string()).collect()
    }

    /// Where a node answers clients.
    pub(crate) fn address(&self, nth: usize) -> String {
        self.config.nodes[nth].client.to_string()
    }

    /// A client of all nodes.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.addresses()).expect("a client")
    }

    /// The first configuration: group g1, on all nodes.
    async fn join(&self) {
        self.join_through(0, "g1").await;
    }

    /// A group on all nodes joins; node `via` is told.
    pub(crate) async fn join_through(&self, via: usize, name: &str) {
        let nodes: Vec<u64> = self.config.nodes.iter().map(|node| node.id).collect();
        let join = JoinRequest { groups: vec![Group { name: name.into(), nodes }], shards: 4 };
        let begun = Instant::now();
        loop {
            let told = format!("http://{}", self.config.nodes[via].client);
            if let Ok(mut client) = QuorateClient::connect(told).await {
                // Whether it was carried out, the configuration says.
                let _ = client.join(join.clone()).await;
                if let Ok(found) = self.client().configuration(Duration::from_secs(2)).await
                    && found.groups.iter().any(|group| group.name == name)
                {
                    return;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the cluster does not serve:\n{}", self.log(via));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Waits until something holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for nth in 0..self.running.len() {
            self.kill(nth);
        }
    }
}
