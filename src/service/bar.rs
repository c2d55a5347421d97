//! The terminal under a progress bar, which holds nobody up either.

use std::io::{self, IsTerminal};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::TermLike;

use super::stderr::{BAR, BROKEN, CLEAR_LINE, write_in_time, writing};

/// The terminal as a progress bar sees it, which leaves the last line to log lines. What the
/// terminal does not take at once is not drawn.
#[derive(Debug)]
pub(crate) struct BarTerminal {
    columns: u16,
    drawn: Mutex<String>,
}

impl BarTerminal {
    /// Of stderr, if that is a terminal in which a bar can be drawn.
    pub(crate) fn new() -> Option<Self> {
        const COLUMNS: u16 = 80;
        let knows_escapes = std::env::var_os("TERM").is_some_and(|name| name != "dumb");
        if !knows_escapes || !io::stderr().is_terminal() {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
        let columns = size.map_or(0, |size| size.ws_col);
        BAR.store(true, Ordering::Relaxed);
        let columns = if columns == 0 { COLUMNS } else { columns };
        Some(Self { columns, drawn: Mutex::default() })
    }

    fn drawn(&self) -> MutexGuard<'_, String> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn().push_str(text);
        Ok(())
    }

    fn move_cursor(&self, n: usize, direction: char) -> io::Result<()> {
        // A terminal moves by one if told to move by none.
        if n > 0 { self.draw(&format!("\x1b[{n}{direction}")) } else { Ok(()) }
    }
}

impl Drop for BarTerminal {
    fn drop(&mut self) {
        BAR.store(false, Ordering::Relaxed);
    }
}

impl TermLike for BarTerminal {
    fn width(&self) -> u16 {
        self.columns
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(CLEAR_LINE)
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.drawn());
        let _writing = writing();
        // Behind half a line there is nothing to clear.
        if !BROKEN.load(Ordering::Relaxed) {
            write_in_time(text.as_bytes(), Duration::ZERO);
        }
        Ok(())
    }
}
