//! What peers send: how records are told apart, and what is said to forebay itself.

use crate::pieces::Pieces;
use frames::{Cutting, Frame, Frames};
use message::Message;

// Settings of the listener, and what other files of its folder use.
#[allow(dead_code)]
#[path = "../../../src/source/listen/frames.rs"]
mod frames;
#[allow(dead_code)]
#[path = "../../../src/source/listen/message.rs"]
mod message;

/// A record as it is compared: its bytes, how many it has, and what became of it.
type Seen = (Vec<u8>, u64, char);

/// The first byte chooses the limit. Records are the same in whatever pieces they come; none is above the limit.
pub fn frames(cutting: &str, input: &[u8]) {
    let cutting = match cutting {
        "lines" => Cutting::Lines,
        "length" => Cutting::Length,
        "syslog" => Cutting::Syslog,
        other => panic!("no framing is called {other}"),
    };
    let Some((max, bytes)) = input.split_first() else { return };
    let max = 1 + usize::from(*max);
    let whole = cut(cutting, max, [bytes]);
    for (record, bytes, fate) in &whole {
        assert!(record.len() <= if *fate == 'c' { max + 11 } else { max });
        assert!(*fate == 'l' || record.len() as u64 == *bytes);
    }
    assert_eq!(cut(cutting, max, bytes.chunks(1)), whole);
    assert_eq!(cut(cutting, max, Pieces::sizes(bytes)), whole);
    if cutting == Cutting::Lines {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
        assert_eq!(whole.len(), lines);
    }
}

fn cut<'a>(cutting: Cutting, max: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut frames = Frames::new(cutting, max);
    let mut all = Vec::new();
    for piece in pieces {
        frames.push(piece);
        while let Some(frame) = frames.next() {
            all.push(seen(frame));
        }
    }
    all.extend(frames.rest().map(seen));
    assert!(frames.rest().is_none() && frames.next().is_none(), "nothing is left");
    all
}

fn seen(frame: Frame<'_>) -> Seen {
    match frame {
        Frame::Whole(bytes) => (bytes.to_vec(), bytes.len() as u64, 'w'),
        Frame::TooLong { start, bytes } => (start.to_vec(), bytes, 'l'),
        Frame::CutOff(bytes) => (bytes.to_vec(), bytes.len() as u64, 'c'),
    }
}

/// What is read is a row that holds together, or a hello whose name can stand in the ledger.
pub fn message(input: &[u8]) {
    let is_message = message::is_message(input);
    match message::read(input, None, "here") {
        Ok(Message::Hello(hello)) => {
            assert!(is_message || !input.trim_ascii_start().starts_with(b"{\"forebay\""));
            assert!((1..=128).contains(&hello.peer.len()) && hello.peer.is_ascii());
            assert!(hello.first.is_none_or(|first| (1..=1 << 62).contains(&first)));
        }
        Ok(Message::Capture(capture)) => {
            crate::targets::check_capture(&capture);
            let Ok(Message::Capture(forced)) = message::read(input, Some("forced"), "here") else {
                panic!("a forced sensor makes the message unreadable");
            };
            crate::targets::check_capture(&forced);
            assert_eq!((forced.sensor(), forced.data()), ("forced", capture.data()));
        }
        Err(fault) => assert_eq!(fault.reason, message::BAD_MESSAGE),
    }
}
