//! What the SQL backends share: the tables, the rows as statements bind them, and the ledger.

pub(crate) mod audit;
pub(crate) mod decnet;
pub(crate) mod ledger;
pub(crate) mod rows;
pub(crate) mod schema;
