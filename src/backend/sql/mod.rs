//! What the SQL backends share: the tables, the rows as statements bind them, the ledger, and what is asked about state,
//! deployments and users (`store.rs` says how one text serves both), and about rows (`query`).

pub(crate) mod audit;
pub(crate) mod decnet;
mod deployments;
pub(crate) mod ledger;
mod password;
pub(crate) mod query;
pub(crate) mod rows;
mod rules;
pub(crate) mod schema;
mod state;
pub(crate) mod store;
pub(crate) mod turns;
mod users;
