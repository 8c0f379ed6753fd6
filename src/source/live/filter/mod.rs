//! Filters as tcpdump writes them, compiled for the kernel. Pure: text in, instructions out.
//!
//! Two ways to say one: the common expressions of `pcap-filter(7)` (`words` and `expression` read them, `program` makes classic BPF of
//! them by `assembly`, `verifier` holds it against the kernel's rules), and for everything else the output of `tcpdump -dd` (`listing`), so that any filter which tcpdump knows can be
//! had. Which expressions there are is in the docs of [`LiveSettings`](super::LiveSettings).
//!
//! By hand: of the crates, `pktbaffle` 0.1 was tried on our sample captures against tcpdump 4.99 and gave other verdicts
//! for `tcp`, `udp` and `not tcp` (it looks at IPv4 only), `port 80 or 443`, `tcp[tcpflags]`, `ip multicast` and networks
//! of IPv6 or ARP, binds `and` closer than `or` where tcpdump does not, and cuts jump distances to eight bits, so that 40
//! hosts joined by `or` let the first one through no more. Others need libpcap. The tests hold every expression here
//! against tcpdump's verdict on each packet of the samples.

mod assembly;
mod expression;
mod listing;
mod program;
#[cfg(test)]
mod tests;
mod verifier;
mod words;

use expression::Expression;

/// What the kernel hands to the filter of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// An Ethernet frame.
    Ethernet,
    /// A packet from its network header on; what it is the kernel tells beside it.
    Network,
}

/// One instruction, as `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) yes: u8,
    pub(super) no: u8,
    pub(super) k: u32,
}

/// Which packets are wanted.
#[derive(Clone, Debug)]
pub(super) struct Filter(Form);

#[derive(Clone, Debug)]
enum Form {
    All,
    Expression(Expression),
    Listing(Vec<Instruction>),
}

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
/// Most bytes of a filter's text.
const MAX_TEXT: usize = 128 << 10;

impl Filter {
    /// Reads a filter; an empty one wants every packet.
    ///
    /// # Errors
    /// One line that tells what is wrong, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("a filter has at most {MAX_TEXT} bytes"));
        }
        match text.trim() {
            "" => Ok(Form::All),
            text if text.starts_with('{') => listing::parse(text).map(Form::Listing),
            text => Expression::parse(text).map(Form::Expression),
        }
        .map(Self)
    }

    /// Returns the program that a socket gets: of wanted packets it keeps `snap_length` bytes.
    ///
    /// `loopback` is the index of the loopback device: every packet there passes twice, and is kept once, when it arrives.
    ///
    /// # Errors
    /// When the filter asks for what such packets do not have, or is too long for the kernel.
    pub(super) fn program(
        &self,
        start: Start,
        snap_length: u32,
        loopback: Option<u32>,
    ) -> Result<Vec<Instruction>, String> {
        let mut program = loopback.map(program::without_sent_on).unwrap_or_default();
        program.extend(match &self.0 {
            Form::All => vec![assembly::keep(snap_length)],
            Form::Expression(expression) => program::compile(expression, start, snap_length)?,
            Form::Listing(listing) => listing::adapt(listing, start, snap_length)?,
        });
        if program.len() > MAX_INSTRUCTIONS {
            let length = program.len();
            return Err(format!("it comes to {length} instructions, and the kernel takes {MAX_INSTRUCTIONS}"));
        }
        let verdict = verifier::check(&program);
        debug_assert!(matches!(self.0, Form::Listing(_)) || verdict.is_ok(), "{self:?}: {verdict:?}");
        verdict.map_err(|fault| format!("the kernel would not take it: {fault}"))?;
        Ok(program)
    }
}
