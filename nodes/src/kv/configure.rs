//! Following the configuration log: one entry after the other, each only when the one before is settled.

use quorate::planted::{self, Bug};
use quorate::{Consistency, Index};
use quorate_statemachines::ConfigNumber;
use quorate_statemachines::configlog::{self, Config, ConfigLog, plan};
use quorate_statemachines::kv::{Configured, KvCommand, KvReply};
use std::sync::Arc;

use super::driver::Driver;
use super::reach::Reach;

impl Driver {
    /// Proposes configuration after configuration, until dropped.
    pub(super) async fn follow_configs(&self, configs: &dyn Reach<ConfigLog>) {
        let mut known: Option<Index> = None;
        // The one that tells of news first; while there is none each in its turn, since that one may be cut off.
        let mut replica = 1;
        loop {
            let seen = self.own.applied();
            let settled = match self.work().await {
                Some(work) if work.settled || planted::is(Bug::ConfigWhileMoving) => Some(work.number),
                _ => None,
            };
            match settled {
                // The moves under way must end first.
                None => self.news(seen).await,
                Some(number) => {
                    if !self.configure_next(configs, number, replica).await {
                        let now = configs.changed(known, self.options.look).await;
                        replica = if now > known { 1 } else { replica + 1 };
                        known = now;
                    }
                }
            }
        }
    }

    /// Proposes the configuration after `number`, if there is one; says whether it did.
    async fn configure_next(&self, configs: &dyn Reach<ConfigLog>, number: ConfigNumber, replica: usize) -> bool {
        // A configuration never changes, so any replica's answer is good; one that lags only answers later.
        let query = match planted::is(Bug::ConfigSkipped) {
            true => configlog::Query::Latest,
            false => configlog::Query::After(number),
        };
        let Some(next) = self.ask(configs, query, replica).await.filter(|next| next.number > number) else {
            return false;
        };
        let previous = match number {
            ConfigNumber(0) => Arc::new(Config::none()),
            number => match self.ask(configs, configlog::Query::At(number), replica).await {
                Some(previous) => previous,
                None => return false,
            },
        };
        let step = match plan(&previous, &next, &self.me) {
            Ok(step) => step,
            Err(error) => {
                tracing::error!(me = %self.me, %error, "the configuration log has a gap");
                return false;
            }
        };
        match self.write_own(KvCommand::Configure(step)).await {
            Ok(KvReply::Configured { outcome: Configured::Applied | Configured::SameAgain, .. }) => true,
            Ok(reply) => {
                tracing::debug!(me = %self.me, ?reply, "a configuration was not applied");
                false
            }
            Err(error) => {
                tracing::debug!(me = %self.me, %error, "a configuration could not be proposed");
                false
            }
        }
    }

    async fn ask(
        &self,
        configs: &dyn Reach<ConfigLog>,
        query: configlog::Query,
        replica: usize,
    ) -> Option<Arc<Config>> {
        configs.read(Consistency::Local, &query, self.options.call_timeout, replica).await.ok()?.answer.config()
    }
}
