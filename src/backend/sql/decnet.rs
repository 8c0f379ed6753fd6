//! Views in the names and forms of DECNET's own tables, so that its read queries work on what a pipeline has written.
//!
//! `logs` shows events, `bounty` shows captures that are no packets. Times have SQLAlchemy's form, in UTC with microseconds.
//! Members of a DECNET event stand in `fields` as DECNET stores them; of another event, everything that is in no column.
//! The views are no part of the schema: they are made by hand, for whoever wants them, and cost writers nothing. They
//! have no index by `timestamp`, which is reckoned for each row: a page of the newest sorts every row that is left.
//!
//! Names and types: DECNET's models `Log` and `Bounty`.

/// The views that are made, dropped in this order.
pub(crate) const VIEWS: [&str; 2] = ["logs", "bounty"];

/// What the two databases write differently.
pub(crate) struct Dialect {
    /// The row's time, from `ts`.
    pub(crate) time: &'static str,
    /// The member `fields` of `fields`, if it is an object.
    pub(crate) inner: &'static str,
    /// The text of the member `service` of `fields`.
    pub(crate) service: &'static str,
}

/// Returns the statements that make the views, in the order of [`VIEWS`].
pub(crate) fn statements(dialect: &Dialect) -> [String; 2] {
    let Dialect { time, inner, service } = dialect;
    [
        format!(
            "CREATE VIEW logs AS SELECT id, {time} AS timestamp, sensor AS decky, service, event_type, \
             COALESCE(src_ip, 'Unknown') AS attacker_ip, COALESCE(raw, '') AS raw_line, \
             COALESCE({inner}, fields, '{{}}') AS fields, msg, trace_id, span_id FROM events"
        ),
        format!(
            "CREATE VIEW bounty AS SELECT id, {time} AS timestamp, sensor AS decky, COALESCE({service}, '') AS service, \
             COALESCE(src_ip, 'Unknown') AS attacker_ip, kind AS bounty_type, COALESCE(fields, '{{}}') AS payload \
             FROM captures WHERE kind <> 'packet'"
        ),
    ]
}
