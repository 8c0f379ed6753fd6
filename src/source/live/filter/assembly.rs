//! Classic BPF: its instructions, and an assembler with labels. Pure.
//!
//! A conditional jump reaches 255 instructions; one that must go farther gets two unconditional ones behind it.
//!
//! Numbers: `linux/bpf_common.h`, `linux/filter.h`.

use super::{Instruction, Start};

pub(super) const LD: u16 = 0;
pub(super) const LDX: u16 = 1;
pub(super) const RETURN: u16 = 6;
/// Modes of loads: absolute, behind the index register, length of an IP header.
pub(super) const LOADS_FROM_PACKET: [u16; 3] = [0x20, 0x40, 0xa0];

/// Offsets from here on are no bytes of the packet, but what the kernel knows beside it (`SKF_AD_OFF`).
pub(super) const ANCILLARY: u32 = 0xffff_f000;
pub(super) const PROTOCOL: u32 = ANCILLARY;
pub(super) const PACKET_TYPE: u32 = ANCILLARY + 4;
pub(super) const INTERFACE: u32 = ANCILLARY + 8;
pub(super) const HARDWARE: u32 = ANCILLARY + 28;
pub(super) const VLAN_TAG: u32 = ANCILLARY + 44;
pub(super) const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
/// Added to a load: behind the index register instead of the packet's start.
pub(super) const INDIRECT: u16 = 0x20;
pub(super) const LOAD_LENGTH: u16 = 0x80;
pub(super) const LOAD_CONSTANT: u16 = 0x00;
pub(super) const LOAD_MEMORY: u16 = 0x60;
pub(super) const INDEX_CONSTANT: u16 = 0x01;
pub(super) const INDEX_MEMORY: u16 = 0x61;
pub(super) const STORE: u16 = 0x02;
pub(super) const STORE_INDEX: u16 = 0x03;
pub(super) const ADD: u16 = 0x04;
pub(super) const ADD_INDEX: u16 = 0x0c;
pub(super) const SUBTRACT_INDEX: u16 = 0x1c;
pub(super) const AND: u16 = 0x54;
pub(super) const SHIFT_LEFT: u16 = 0x64;
pub(super) const TO_INDEX: u16 = 0x07;
pub(super) const FROM_INDEX: u16 = 0x87;
pub(super) const JUMP: u16 = 0x05;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_AT_LEAST: u16 = 0x35;
pub(super) const IF_AT_LEAST_INDEX: u16 = 0x3d;
pub(super) const IF_ANY_BIT: u16 = 0x45;

pub(super) fn keep(snap_length: u32) -> Instruction {
    Instruction { code: RETURN, yes: 0, no: 0, k: snap_length }
}

/// A place in the program that is not known yet.
pub(super) type Label = usize;

enum Step {
    Plain { code: u16, k: u32 },
    Branch { code: u16, k: u32, yes: Label, no: Label },
    Jump(Label),
}

pub(super) struct Code {
    steps: Vec<Step>,
    /// Which step each label stands before.
    places: Vec<usize>,
    pub(super) start: Start,
}

impl Code {
    pub(super) fn new(start: Start) -> Self {
        Self { steps: Vec::new(), places: Vec::new(), start }
    }

    pub(super) fn label(&mut self) -> Label {
        self.places.push(usize::MAX);
        self.places.len() - 1
    }

    pub(super) fn place(&mut self, label: Label) {
        self.places[label] = self.steps.len();
    }

    pub(super) fn plain(&mut self, code: u16, k: u32) {
        self.steps.push(Step::Plain { code, k });
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.steps.push(Step::Jump(label));
    }

    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) {
        self.steps.push(Step::Branch { code, k, yes, no });
    }

    /// Goes on behind itself if the condition holds, else to `no`.
    pub(super) fn need(&mut self, code: u16, k: u32, no: Label) {
        let here = self.label();
        self.branch(code, k, here, no);
        self.place(here);
    }

    /// Goes to `yes` if the condition holds, else on behind itself.
    pub(super) fn unless(&mut self, code: u16, k: u32, yes: Label) {
        let here = self.label();
        self.branch(code, k, yes, here);
        self.place(here);
    }

    /// Goes on only if the packet has so many bytes behind the index register, which never points behind its end.
    pub(super) fn need_bytes(&mut self, bytes: u32, no: Label) {
        self.plain(LOAD_LENGTH, 0);
        self.plain(SUBTRACT_INDEX, 0);
        self.need(IF_AT_LEAST, bytes, no);
    }

    pub(super) fn add_to_index(&mut self, bytes: u32) {
        self.plain(FROM_INDEX, 0);
        self.plain(ADD, bytes);
        self.plain(TO_INDEX, 0);
    }

    /// Decides which branches need long ways, and writes the instructions.
    pub(super) fn assemble(self) -> Result<Vec<Instruction>, String> {
        let mut is_long = vec![false; self.steps.len()];
        loop {
            // Where each step begins, with the end behind the last.
            let mut begins = vec![0];
            for long in &is_long {
                begins.push(begins[begins.len() - 1] + if *long { 3 } else { 1 });
            }
            let distance = |step: usize, label: Label| begins[self.places[label]] - begins[step] - 1;
            let too_far = |step: usize| match &self.steps[step] {
                Step::Branch { yes, no, .. } => [*yes, *no].iter().any(|label| distance(step, *label) > 255),
                _ => false,
            };
            let newly: Vec<usize> = (0..self.steps.len()).filter(|step| !is_long[*step] && too_far(*step)).collect();
            if !newly.is_empty() {
                newly.into_iter().for_each(|step| is_long[step] = true);
                continue;
            }
            let mut program = Vec::new();
            for (index, step) in self.steps.iter().enumerate() {
                let far = |label: Label, behind: usize| Instruction {
                    code: JUMP,
                    yes: 0,
                    no: 0,
                    k: (distance(index, label) - behind) as u32,
                };
                match *step {
                    Step::Plain { code, k } => program.push(Instruction { code, yes: 0, no: 0, k }),
                    Step::Jump(label) => program.push(far(label, 0)),
                    Step::Branch { code, k, yes, no } if is_long[index] => {
                        program.push(Instruction { code, yes: 0, no: 1, k });
                        program.extend([far(yes, 1), far(no, 2)]);
                    }
                    Step::Branch { code, k, yes, no } => {
                        let near = |label| u8::try_from(distance(index, label)).map_err(|_| "a jump is too long");
                        program.push(Instruction { code, yes: near(yes)?, no: near(no)?, k });
                    }
                }
            }
            return Ok(program);
        }
    }
}
