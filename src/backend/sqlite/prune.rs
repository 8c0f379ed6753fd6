//! Retention by hand: the steps that a writer would take for it, one after the other; or only told.

use std::ops::ControlFlow;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::error::of_transaction;
use super::open::{self, unusable};
use super::segments::{Limits, Segment, Segments, Step, Urgency};
use crate::chunk::RowKind;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::maintenance::{Dropped, Progress, Pruned};
use crate::telemetry;
use crate::timestamp::Timestamp;

/// Drops what retention does not keep, as the file's one writer.
pub(crate) fn prune(
    path: &Path,
    config: &Config,
    go_on: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Pruned, Error> {
    open::check_there(path)?;
    let (path, _lock, mut connection) = open::open(path, &config.sqlite)?;
    let failed = |error| unusable(&path, error);
    let limits = Limits::of(config);
    let now = Timestamp::now().as_nanos();
    let mut segments = Segments::read(&mut connection).map_err(failed)?;
    let mut pruned = Pruned { before: segments.space().file as u64, ..Pruned::default() };
    loop {
        let space = segments.space();
        let progress = Progress { dropped: pruned.dropped.len() as u64, free: space.free as u64 };
        if go_on(progress).is_break() {
            pruned.is_stopped = true;
            break;
        }
        let vacuum = (space.is_incremental && space.free > 0).then_some(Step::Vacuum);
        let Some(step) = segments.next(&limits, now, Urgency::Due).or(vacuum) else { break };
        let dropped = dropped(&segments, &step);
        segments.carry_out(&mut connection, &step, now).map_err(failed)?;
        // Nobody else does: without a pipeline there is no checkpointer.
        connection.batch_execute("PRAGMA wal_checkpoint(PASSIVE)").map_err(failed)?;
        if let (Step::Retire(kind, _, reason), Some(dropped)) = (&step, dropped) {
            telemetry::retired(*kind, reason, dropped.rows as i64);
            pruned.dropped.push(dropped);
        }
        if step == Step::Vacuum && segments.space().free >= space.free {
            break;
        }
    }
    pruned.kept = kept(&segments);
    // The file itself shrinks with the checkpoint; a reader may hold that up, and does no harm.
    if let Err(error) = connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::debug!(error = %of_transaction(error), "checkpoint after pruning");
    }
    pruned.after = segments.space().file as u64;
    Ok(pruned)
}

/// Tells what [`prune`] would drop.
pub(crate) fn plan_prune(path: &Path, config: &Config) -> Result<Pruned, Error> {
    let failed = |error| unusable(path, error);
    let mut connection = open::to_read(path)?;
    let version = open::pragma_number(&mut connection, "user_version").map_err(failed)?;
    if version < open::SCHEMA_VERSION {
        let why = "has an older schema, without segments; `forebay db prune` without --dry-run brings it up to date";
        return Err(Error::new(ErrorKind::Unsupported, format!("{} {why}", path.display())));
    }
    let limits = Limits::of(config);
    // One transaction: a writer may be at work.
    let mut segments = connection.transaction(Segments::read).map_err(failed)?;
    let mut pruned = Pruned { before: segments.space().file as u64, ..Pruned::default() };
    let now = Timestamp::now().as_nanos();
    while let Some(step) = segments.next(&limits, now, Urgency::Due) {
        let dropped = dropped(&segments, &step);
        if !segments.rehearse(&step, now) {
            break;
        }
        if let (Step::Retire(..), Some(dropped)) = (&step, dropped) {
            pruned.dropped.push(dropped);
        }
    }
    pruned.kept = kept(&segments);
    let space = segments.space();
    pruned.after = (space.file - if space.is_incremental { space.free } else { 0 }) as u64;
    Ok(pruned)
}

fn dropped(segments: &Segments, step: &Step) -> Option<Dropped> {
    let Step::Retire(kind, number, reason) = *step else { return None };
    let segment = segments.all().find(|segment| segment.kind == kind && segment.number == number)?;
    let bytes = segments.bytes_of(segment) as u64;
    Some(Dropped {
        kind,
        rows: segment.rows as u64,
        bytes,
        first: segment.first_ts.map(Timestamp::from_nanos),
        last: segment.last_ts.map(Timestamp::from_nanos),
        reason,
    })
}

fn kept(segments: &Segments) -> [u64; 2] {
    let of_kind = |kind: RowKind| {
        let seen = |segment: &&Segment| segment.kind == kind && segment.is_visible();
        segments.all().filter(seen).map(|segment| segment.rows as u64).sum()
    };
    RowKind::ALL.map(of_kind)
}
