//! `kausal top`: a database at work, on a terminal, once a second.
//!
//! An open database belongs to its process, so this opens it itself and lets a load of its own run on it (`--load`), or none. A
//! program that wants the same of its own database asks [`StorageEngine::metrics`] and its like, as this does.
//!
//! | room | what lives there |
//! |---|---|
//! | `screen` | what is drawn, from two samples |
//! | `load` | what is done to the database meanwhile |
//!
//! `q`, Escape and Ctrl-C end it. With `--once` it draws one screen as text after so many seconds: for a file, or a page.

mod load;
mod screen;

use std::io;
use std::time::{Duration, Instant};

use kausal_engine::{MemoryReport, Metrics, Stall, StorageEngine};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};

use crate::arguments::Top;
use crate::{Failure, Outcome};
pub(crate) use load::Load;
use load::Running;

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Columns and rows of a screen that is printed.
const PRINTED: (u16, u16) = (96, 34);

/// A moment of a database.
pub(crate) struct Sample {
    pub(crate) metrics: Metrics,
    pub(crate) memory: MemoryReport,
    pub(crate) stall: Option<Stall>,
}

impl Sample {
    fn of(engine: &StorageEngine) -> Self {
        Self { metrics: engine.metrics(), memory: engine.memory_report(), stall: engine.explain_stall() }
    }
}

pub(crate) fn run(engine: StorageEngine, arguments: &Top) -> Result<Outcome, Failure> {
    let title = arguments.database.db.display().to_string();
    let shown = std::thread::scope(|threads| {
        let load = Running::start(threads, &engine, arguments.load, arguments.keys);
        let shown = match arguments.once {
            Some(seconds) => print_once(&engine, &title, Duration::from_secs(seconds)),
            None => watch(&engine, &title).map_err(Failure::io("draw on the terminal")),
        };
        load.stop().map_err(Failure::from).and(shown)
    });
    shown?;
    engine.close()?;
    Ok(Outcome::Good)
}

/// Draws one screen of the last second of `wait`.
fn print_once(engine: &StorageEngine, title: &str, wait: Duration) -> Result<(), Failure> {
    std::thread::sleep(wait.saturating_sub(EVERY));
    let before = Sample::of(engine);
    std::thread::sleep(EVERY.min(wait));
    print!("{}", drawn(title, &before, &Sample::of(engine)));
    Ok(())
}

/// A screen as text.
pub(crate) fn drawn(title: &str, before: &Sample, now: &Sample) -> String {
    let mut terminal =
        Terminal::new(TestBackend::new(PRINTED.0, PRINTED.1)).expect("a screen in memory has no errors");
    terminal.draw(|frame| screen::draw(frame, title, before, now)).expect("a screen in memory has no errors");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(PRINTED.0));
    let lines = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Draws until somebody presses a key that ends it.
fn watch(engine: &StorageEngine, title: &str) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let watched = (|| {
        let mut before = Sample::of(engine);
        loop {
            let now = Sample::of(engine);
            terminal.draw(|frame| screen::draw(frame, title, &before, &now))?;
            before = now;
            if ends_within(EVERY)? {
                return Ok(());
            }
        }
    })();
    ratatui::restore();
    watched
}

/// Whether somebody asks for the end within this time.
fn ends_within(wait: Duration) -> io::Result<bool> {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        if let Event::Key(key) = event::read()?
            && is_end(key)
        {
            return Ok(true);
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}
