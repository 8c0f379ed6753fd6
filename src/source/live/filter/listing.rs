//! Reads what `tcpdump -dd` prints: one `{ code, yes, no, k },` a line.

use super::assembly::{ANCILLARY, HARDWARE, INTERFACE, PACKET_TYPE, PROTOCOL};
use super::assembly::{LD, LDX, LOADS_FROM_PACKET, RETURN};
use super::{Instruction, Start, verifier};

pub(super) fn parse(text: &str) -> Result<Vec<Instruction>, String> {
    let mut listing = Vec::new();
    let mut rest = text.trim();
    while let Some(inner) = rest.strip_prefix('{') {
        let number = listing.len() + 1;
        let fault =
            || format!("instruction {number} of the listing is not `{{ code, yes, no, k }}` as `tcpdump -dd` has it");
        let (inner, after) = inner.split_once('}').ok_or_else(fault)?;
        let numbers: Vec<u32> =
            inner.split(',').map(|word| self::number(word.trim())).collect::<Option<_>>().ok_or_else(fault)?;
        let &[code, yes, no, k] = &numbers[..] else { return Err(fault()) };
        let instruction = || {
            let [yes, no] = [u8::try_from(yes).ok()?, u8::try_from(no).ok()?];
            Some(Instruction { code: u16::try_from(code).ok()?, yes, no, k })
        };
        listing.push(instruction().ok_or_else(fault)?);
        rest = after.trim_start_matches([',', ' ', '\t', '\r', '\n']);
    }
    if !rest.is_empty() {
        return Err("behind the listing stands something else".into());
    }
    verifier::check(&listing).map_err(|fault| format!("the kernel would not take the listing: {fault}"))?;
    Ok(listing)
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Bytes of a header of link type 276, which `tcpdump -i any` compiles for and the kernel's packets do not have.
const COOKED_HEADER: u32 = 20;

/// Fits a listing to what our socket sees: offsets behind a cooked header as libpcap's `fix_offset` does it, and our snap
/// length where it keeps a packet.
pub(super) fn adapt(listing: &[Instruction], start: Start, snap_length: u32) -> Result<Vec<Instruction>, String> {
    let adapt = |instruction: &Instruction| {
        let mut instruction = *instruction;
        let class = instruction.code & 7;
        if class == RETURN && instruction.k > 0 {
            instruction.k = snap_length;
        }
        let loads = matches!(class, LD | LDX) && LOADS_FROM_PACKET.contains(&(instruction.code & 0xe0));
        if start == Start::Network && loads && instruction.k < ANCILLARY {
            instruction.k = match instruction.k {
                k @ COOKED_HEADER.. => k - COOKED_HEADER,
                0 => PROTOCOL,
                4 => INTERFACE,
                8 => HARDWARE,
                10 => PACKET_TYPE,
                k => {
                    return Err(format!("the listing reads byte {k} of a cooked header, which the kernel cannot tell"));
                }
            };
        }
        Ok(instruction)
    };
    listing.iter().map(adapt).collect()
}
