//! Makes inputs of inputs: a few random changes to one of the corpus, drawn from a seed.
//!
//! No coverage is fed back; that is libFuzzer's work. What this must do is always the same thing, quickly.

use fastrand::Rng;

/// Longest input; what is longer is cut.
const LONGEST: usize = 4096;
/// What parsers trip over.
const SHARP: [&[u8]; 32] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b"(",
    b")",
    b":",
    b",",
    b".",
    b"-",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"\\ud800",
    b"\\u0000",
    b"%",
    b"0",
    b"1",
    b"65536",
    b"9223372036854775807",
    b"-1",
    b"1e999",
    b"::ffff:0:0",
];

pub struct Mutator {
    random: Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self { random: Rng::with_seed(seed), corpus }
    }

    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..self.random.usize(1..6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn any(&mut self) -> &[u8] {
        let at = self.random.usize(..self.corpus.len());
        &self.corpus[at]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.usize(..=input.len());
        let length = self.random.usize(..=(input.len() - at).min(16));
        match self.random.u8(..10) {
            // Flips a bit, sets a byte.
            0 | 1 if at < input.len() => input[at] ^= 1 << self.random.u8(..8),
            2 if at < input.len() => input[at] = self.random.u8(..),
            // Takes some out, says some twice.
            3 => drop(input.drain(at..at + length)),
            4 => {
                let twice = input[at..at + length].to_vec();
                input.splice(at..at, twice);
            }
            5 => input.truncate(at),
            // Goes on as another one does.
            6 => {
                let other = self.any();
                let tail = other[other.len() * at / (input.len() + 1)..].to_vec();
                input.truncate(at);
                input.extend(tail);
            }
            // Puts in what is sharp, or puts it in place of something.
            7 => {
                let sharp = SHARP[self.random.usize(..SHARP.len())];
                input.splice(at..at + length, sharp.iter().copied());
            }
            _ => {
                let sharp = SHARP[self.random.usize(..SHARP.len())];
                input.splice(at..at, sharp.iter().copied());
            }
        }
    }
}
