//! What became of each law.

use std::any::type_name;
use std::fmt;

use crate::block_index::BlockIndex;
use crate::conformance::law::Law;

/// A law that an index claims and does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// The law.
    pub law: Law,
    /// What chose the cases; see [`Settings::seed`](crate::conformance::Settings::seed).
    pub seed: u64,
    /// The smallest case that still fails.
    pub case: String,
    /// What was seen in the place of what.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, seed, case, what } = self;
        write!(
            out,
            "law `{law}` is broken: {}\n    saw:  {what}\n    case: {case}\n    seed: {seed}",
            law.says()
        )
    }
}

/// What became of one law.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Claimed, and no case broke it.
    Held,
    /// Claimed and broken.
    Broken(Broken),
    /// The index says of itself that it does not do this; the reason names the constant.
    NotClaimed(&'static str),
    /// Claimed, but this program cannot check it; the reason says what it takes.
    NotChecked(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => out.write_str("held"),
            Self::Broken(_) => out.write_str("BROKEN"),
            Self::NotClaimed(reason) => write!(out, "not claimed ({reason})"),
            Self::NotChecked(reason) => write!(out, "not checked ({reason})"),
        }
    }
}

/// Which laws an index claims, and which it holds. `Display` prints one line a law, and the case of each broken one.
#[derive(Clone, Debug)]
pub struct Report {
    index: String,
    in_arena: bool,
    ordered_while_live: bool,
    verdicts: [(Law, Verdict); Law::ALL.len()],
}

impl Report {
    pub(super) fn new<I: BlockIndex>(verdicts: [(Law, Verdict); Law::ALL.len()]) -> Self {
        let (in_arena, ordered_while_live) = (I::IN_ARENA, I::ORDERED_WHILE_LIVE);
        Self { index: without_paths(type_name::<I>()), in_arena, ordered_while_live, verdicts }
    }

    /// Every law with its verdict.
    pub fn verdicts(&self) -> &[(Law, Verdict)] {
        &self.verdicts
    }

    /// The broken laws.
    pub fn broken(&self) -> impl Iterator<Item = &Broken> {
        self.verdicts.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Broken(broken) => Some(broken),
            _ => None,
        })
    }

    /// Whether no claimed law is broken.
    pub fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// Whether the index claims `law`.
    pub fn claims(&self, law: Law) -> bool {
        let unclaimed =
            |(of, verdict): &(Law, Verdict)| *of == law && matches!(verdict, Verdict::NotClaimed(_));
        !self.verdicts.iter().any(unclaimed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, in_arena, ordered_while_live, verdicts } = self;
        writeln!(out, "{index}: IN_ARENA {in_arena}, ORDERED_WHILE_LIVE {ordered_while_live}")?;
        for (law, verdict) in verdicts {
            writeln!(out, "  {law:<24}{:<13}{}", short(verdict), law.says())?;
        }
        self.broken().try_for_each(|broken| write!(out, "\n{broken}\n"))
    }
}

fn short(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Broken(_) => "BROKEN",
        Verdict::NotClaimed(_) => "not claimed",
        Verdict::NotChecked(_) => "not checked",
    }
}

/// `a::b::Index<c::D>` as `Index<D>`.
fn without_paths(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(['<', '>', ',', ' ']) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}
