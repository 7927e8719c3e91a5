//! Fragments: range tombstones cut at every start and end, as a table stores them.
//!
//! 1. A fragment starts where the one before ends, if something covers that key, else at the next start.
//! 2. It ends at the nearest end of what covers its start, or at the next start before that.
//! 3. Everything that covers its start covers it whole, and is shown once with the fragment's range, the newest first.
//!
//! The sequence numbers of a fragment are found by walks over the tree, [`AT_ONCE`] per walk, so that the cursor needs no
//! memory however many range tombstones lie over each other: it costs O(log n + c) per fragment that c of them cover, and
//! once more for each further `AT_ONCE`.
//!
//! Not here: what may be left out because nobody can see it. Who writes the table knows the snapshots.

use kausal_index::{RangeTombstone, SeqNo};

use super::tree::{Root, Tree};

/// Sequence numbers fetched by one walk: enough for what is usual, and half a kilobyte of cursor.
const AT_ONCE: usize = 64;

/// The fragments of one moment, in ascending order of their ranges, those of one range with descending sequence numbers.
#[derive(Clone, Debug)]
pub struct Fragments<'m> {
    tree: Tree<'m>,
    root: Root,
    /// The current range; `None` before the first and behind the last.
    range: Option<(&'m [u8], &'m [u8])>,
    is_begun: bool,
    batch: Batch,
}

/// The largest sequence numbers seen below a limit, in descending order.
#[derive(Clone, Debug)]
struct Batch {
    seqnos: [SeqNo; AT_ONCE],
    len: usize,
    /// How many of them have been shown.
    shown: usize,
}

impl Batch {
    const EMPTY: Self = Self { seqnos: [SeqNo::ZERO; AT_ONCE], len: 0, shown: 0 };

    fn offer(&mut self, seqno: SeqNo) {
        let place = self.seqnos[..self.len].partition_point(|&there| there > seqno);
        let is_there = self.seqnos[..self.len].get(place) == Some(&seqno);
        if is_there || place == AT_ONCE {
            return;
        }
        self.len = (self.len + 1).min(AT_ONCE);
        self.seqnos.copy_within(place..self.len - 1, place + 1);
        self.seqnos[place] = seqno;
    }

    fn show(&mut self) -> Option<SeqNo> {
        let seqno = self.seqnos[..self.len].get(self.shown)?;
        self.shown += 1;
        Some(*seqno)
    }
}

impl<'m> Fragments<'m> {
    pub(super) fn new(tree: Tree<'m>, root: Root) -> Self {
        Self { tree, root, range: None, is_begun: false, batch: Batch::EMPTY }
    }

    /// Fetches the largest numbers below `limit` of those that cover `key`. Returns the nearest of their ends.
    fn fetch(&mut self, key: &[u8], limit: Option<SeqNo>) -> Option<&'m [u8]> {
        let (batch, mut nearest) = (&mut self.batch, None::<&'m [u8]>);
        *batch = Batch::EMPTY;
        self.tree.each_covering(self.root, key, &mut |range| {
            nearest = Some(nearest.map_or(range.end, |end| end.min(range.end)));
            if limit.is_none_or(|limit| range.seqno < limit) {
                batch.offer(range.seqno);
            }
        });
        nearest
    }

    /// Goes on to the next range that something covers.
    fn advance(&mut self) -> Option<()> {
        let first = match self.range {
            None if self.is_begun => return None,
            None => self.tree.bounds(self.root)?.0,
            Some((_, end)) => end,
        };
        self.is_begun = true;
        let (start, nearest) = match self.fetch(first, None) {
            Some(nearest) => (first, nearest),
            None => {
                let start = self.tree.start_after(self.root, first)?;
                (start, self.fetch(start, None).expect("what starts here covers its start"))
            }
        };
        let next = self.tree.start_after(self.root, start);
        self.range = Some((start, next.map_or(nearest, |next| next.min(nearest))));
        Some(())
    }
}

impl<'m> Iterator for Fragments<'m> {
    type Item = RangeTombstone<'m>;

    fn next(&mut self) -> Option<RangeTombstone<'m>> {
        loop {
            if let Some((start, end)) = self.range {
                if let Some(seqno) = self.batch.show() {
                    return Some(RangeTombstone { start, end, seqno });
                }
                if self.batch.len == AT_ONCE {
                    self.fetch(start, Some(self.batch.seqnos[AT_ONCE - 1]));
                    if self.batch.len > 0 {
                        continue;
                    }
                }
            }
            if self.advance().is_none() {
                self.range = None;
                self.is_begun = true;
                return None;
            }
        }
    }
}
