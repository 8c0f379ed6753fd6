//! A terminal that is drawn on, and given back as it was.
//!
//! The alternate screen keeps what stood there before. The terminal is given back when the screen is dropped, and by a hook
//! before a panic is told, so that its message is read where people look; whoever comes second does nothing. Keys come one
//! by one, without echo; Ctrl-C is a key too, so that it ends the loop and not the process.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::picture::{Line, Size, Tone};

/// The alternate screen without a cursor and without wrapping, so that a character wider than it says breaks no line.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Of a terminal that does not tell.
const USUAL: Size = Size { rows: 24, columns: 80 };

/// The screen while it is ours.
pub struct Screen {
    terminal: Arc<Terminal>,
    has_colours: bool,
}

struct Terminal {
    input: File,
    output: File,
    /// `None`: keys come from elsewhere, and nothing is to be set.
    before: Option<Termios>,
    is_ours: AtomicBool,
}

impl Screen {
    /// Takes the terminal of standard input and output.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn open(has_colours: bool) -> io::Result<Self> {
        Self::of(&io::stdin(), &io::stdout(), has_colours)
    }

    fn of(input: &impl AsFd, output: &impl AsFd, has_colours: bool) -> io::Result<Self> {
        let file = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map(File::from);
        let terminal = Terminal {
            before: tcgetattr(input).ok(),
            input: file(input)?,
            output: file(output)?,
            is_ours: AtomicBool::new(false),
        };
        let screen = Self { terminal: Arc::new(terminal), has_colours };
        let (told, terminal) = (panic::take_hook(), Arc::clone(&screen.terminal));
        panic::set_hook(Box::new(move |why| {
            terminal.leave();
            told(why);
        }));
        screen.terminal.enter()?;
        Ok(screen)
    }

    /// Whether it is still ours: a thread that panics has given it back.
    pub fn is_ours(&self) -> bool {
        self.terminal.is_ours.load(Ordering::Acquire)
    }

    /// Returns how large it is now.
    pub fn size(&self) -> Size {
        let size = tcgetwinsize(&self.terminal.output);
        let size = size.map_or(USUAL, |size| Size { rows: size.ws_row.into(), columns: size.ws_col.into() });
        if size.rows == 0 || size.columns == 0 { USUAL } else { size }
    }

    /// Draws lines, which must be harmless and fit, over what stands there.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        for (row, line) in lines.iter().enumerate() {
            text.push_str(&format!("\x1b[{};1H{}{}\x1b[0m\x1b[K", row + 1, self.colour(line.tone), line.text));
        }
        // The rest may hold what was there before.
        if lines.len() < self.size().rows {
            text.push_str(&format!("\x1b[{};1H\x1b[J", lines.len() + 1));
        }
        (&self.terminal.output).write_all(text.as_bytes())
    }

    /// Gives the terminal back, lets `meanwhile` happen, and takes it again.
    ///
    /// # Errors
    /// When the terminal is gone, or as of `meanwhile`.
    pub fn suspended(&self, meanwhile: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.terminal.leave();
        meanwhile()?;
        self.terminal.enter()
    }

    fn colour(&self, tone: Tone) -> &'static str {
        match tone {
            Tone::Plain => "",
            Tone::Title => "\x1b[1m",
            _ if !self.has_colours => "",
            Tone::Good => "\x1b[32m",
            Tone::Warn => "\x1b[33m",
            Tone::Bad => "\x1b[31m",
            Tone::Dim => "\x1b[2m",
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.terminal.leave();
    }
}

impl Terminal {
    fn enter(&self) -> io::Result<()> {
        self.is_ours.store(true, Ordering::Release);
        if let Some(before) = &self.before {
            let mut keys = before.clone();
            keys.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
            keys.input_modes &= !(InputModes::IXON | InputModes::ICRNL);
            tcsetattr(&self.input, OptionalActions::Now, &keys)?;
        }
        (&self.output).write_all(ENTER.as_bytes())
    }

    fn leave(&self) {
        if !self.is_ours.swap(false, Ordering::AcqRel) {
            return;
        }
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing, and nobody is left to be told.
            let _ = tcsetattr(&self.input, OptionalActions::Now, before);
        }
        // As above.
        let _ = (&self.output).write_all(LEAVE.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    /// The only test that panics while a screen is open: a hook is the process's.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let before = format!("{:?}", tcgetattr(&slave).unwrap());
        let panicked = panic::catch_unwind(|| {
            let screen = Screen::of(&slave, &slave, true).unwrap();
            screen.draw(&[Line { tone: Tone::Bad, text: "seen".into() }]).unwrap();
            assert_ne!(format!("{:?}", tcgetattr(&slave).unwrap()), before);
            panic!("on purpose");
        });
        assert!(panicked.is_err());
        assert_eq!(format!("{:?}", tcgetattr(&slave).unwrap()), before);
        (&slave).write_all(b"end").unwrap();
        let (mut shown, mut piece, mut master) = (Vec::new(), [0; 4096], File::from(master));
        while !shown.ends_with(b"end") {
            let length = master.read(&mut piece).unwrap();
            shown.extend_from_slice(&piece[..length]);
        }
        let shown = String::from_utf8_lossy(&shown).replace("end", "");
        assert!(shown.starts_with(ENTER) && shown.contains("\x1b[31mseen") && shown.ends_with(LEAVE), "{shown:?}");
        assert_eq!(shown.matches(LEAVE).count(), 1);
    }
}
