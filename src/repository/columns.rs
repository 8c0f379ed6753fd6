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

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, compared byte for byte.
    Text,
    /// An IP address as canonical text (RFC 5952).
    Address,
    /// A number, 0 or greater.
    Number,
}

/// A column.
pub trait Column: Copy + Debug + Eq + Hash + Send + Sync + 'static {
    /// Every column of the kind.
    const ALL: &'static [Self];
    /// The columns of prose, in which free text is searched.
    const PROSE: &'static [&'static str];

    /// Returns the column's name in every database.
    fn name(self) -> &'static str;

    /// Returns what it holds.
    fn kind(self) -> ColumnKind;
}

/// Makes an enum of columns with their names and kinds: what is written once cannot differ.
macro_rules! columns {
    ($(#[$outer:meta])* $name:ident, $prose:expr, $($(#[$inner:meta])* $column:ident $text:literal $kind:ident,)*) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$inner])* $column,)*
        }

        impl Column for $name {
            const ALL: &'static [Self] = &[$(Self::$column),*];
            const PROSE: &'static [&'static str] = &$prose;

            fn name(self) -> &'static str {
                match self {
                    $(Self::$column => $text,)*
                }
            }

            fn kind(self) -> ColumnKind {
                match self {
                    $(Self::$column => ColumnKind::$kind,)*
                }
            }
        }
    };
}

columns! {
    /// The columns of events. Free text is searched in `msg` and `raw`.
    EventColumn, ["msg", "raw"],
    /// Which sensor saw it.
    Sensor "sensor" Text,
    /// Which service it happened on.
    Service "service" Text,
    /// What kind of event it is.
    EventType "event_type" Text,
    /// Source address.
    SrcIp "src_ip" Address,
    /// Source port.
    SrcPort "src_port" Number,
    /// Destination address.
    DstIp "dst_ip" Address,
    /// Destination port.
    DstPort "dst_port" Number,
    /// Transport protocol.
    Proto "proto" Text,
    /// The sensor's name of the session.
    Session "session" Text,
    /// Text for people.
    Msg "msg" Text,
    /// The original line.
    Raw "raw" Text,
    /// Trace id of the producer's trace.
    TraceId "trace_id" Text,
    /// Span id in that trace.
    SpanId "span_id" Text,
}

columns! {
    /// The columns of captures. Free text is searched in `fields`.
    CaptureColumn, ["fields"],
    /// Which sensor caught it.
    Sensor "sensor" Text,
    /// What it is: `packet`, `credential` ...
    Kind "kind" Text,
    /// The sensor's name of the session.
    Session "session" Text,
    /// Source address.
    SrcIp "src_ip" Address,
    /// Source port.
    SrcPort "src_port" Number,
    /// Destination address.
    DstIp "dst_ip" Address,
    /// Destination port.
    DstPort "dst_port" Number,
    /// Protocol.
    Proto "proto" Text,
    /// Link type of a packet.
    LinkType "link_type" Number,
    /// Bytes on the wire.
    Length "length" Number,
}
