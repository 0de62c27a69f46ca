//! The library's own scenarios: what `docs/guarantees.md` promises, under every fault.

mod bounded;
mod durable;
mod full;
mod machine;
mod membership;
mod quiet;
mod registers;
mod sessions;

use super::scenario::Scenario;

pub use bounded::BoundedScenario;
pub use durable::DurableScenario;
pub use full::FullScenario;
pub use machine::{Answer, Command, Query, Registers, Reply};
pub use membership::MembershipScenario;
pub use quiet::QuietScenario;
pub use registers::RegisterScenario;
pub(crate) use registers::limits;
pub use sessions::SessionScenario;

/// All of them.
pub fn all() -> Vec<&'static dyn Scenario> {
    vec![
        &RegisterScenario,
        &SessionScenario { sessions: true },
        &SessionScenario { sessions: false },
        &BoundedScenario,
        &MembershipScenario,
        &QuietScenario,
        &DurableScenario,
        &FullScenario,
    ]
}
