//! Servers as the processes that they are: killed, ended, started again, told wrong things.

mod backup;
mod cluster;
mod ended;
mod groups;
mod killed;
mod masters;
mod membership;
mod operated;
mod recovered;
mod refused;
mod rolling;
mod trust;
mod writers;
