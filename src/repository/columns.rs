//! The columns that rows are filtered and counted by.
//!
//! Enums, so that the name in a statement is always one of ours.

use std::fmt::Debug;
use std::hash::Hash;

use crate::capture::Capture;
use crate::chunk::RowType;
use crate::event::Event;

/// A row type with columns to ask for. Sealed, as [`RowType`] is.
pub trait Record: RowType + Clone + Debug {
    /// Its columns.
    type Column: Column;
}

impl Record for Event {
    type Column = EventColumn;
}

impl Record for Capture {
    type Column = CaptureColumn;
}

/// A text column.
pub trait Column: Copy + Debug + Eq + Hash + Send + Sync + 'static {
    /// Every column of the kind.
    const ALL: &'static [Self];

    /// Returns the column's name in every database.
    fn name(self) -> &'static str;

    /// Returns whether its texts are IP addresses.
    fn is_address(self) -> bool;
}

/// The text columns of events that hold words, not prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventColumn {
    /// Which sensor saw it.
    Sensor,
    /// Which service it happened on.
    Service,
    /// What kind of event it is.
    EventType,
    /// Source address.
    SrcIp,
    /// Destination address.
    DstIp,
    /// Transport protocol.
    Proto,
    /// The sensor's name of the session.
    Session,
}

impl Column for EventColumn {
    const ALL: &'static [Self] =
        &[Self::Sensor, Self::Service, Self::EventType, Self::SrcIp, Self::DstIp, Self::Proto, Self::Session];

    fn name(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Service => "service",
            Self::EventType => "event_type",
            Self::SrcIp => "src_ip",
            Self::DstIp => "dst_ip",
            Self::Proto => "proto",
            Self::Session => "session",
        }
    }

    fn is_address(self) -> bool {
        matches!(self, Self::SrcIp | Self::DstIp)
    }
}

/// The text columns of captures that hold words, not prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaptureColumn {
    /// Which sensor caught it.
    Sensor,
    /// What it is: `packet`, `credential` ...
    Kind,
    /// The sensor's name of the session.
    Session,
    /// Source address.
    SrcIp,
    /// Destination address.
    DstIp,
    /// Protocol.
    Proto,
}

impl Column for CaptureColumn {
    const ALL: &'static [Self] = &[Self::Sensor, Self::Kind, Self::Session, Self::SrcIp, Self::DstIp, Self::Proto];

    fn name(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Kind => "kind",
            Self::Session => "session",
            Self::SrcIp => "src_ip",
            Self::DstIp => "dst_ip",
            Self::Proto => "proto",
        }
    }

    fn is_address(self) -> bool {
        matches!(self, Self::SrcIp | Self::DstIp)
    }
}
