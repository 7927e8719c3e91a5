//! Charges by hand, small charges, and requests with an arena of their own.

use kausal_arena::{AllocError, Reservation};

use crate::Op;
use crate::doing::pick;
use crate::memory::{Memory, pattern};
use crate::model::Home;
use crate::world::{ROOT_BYTES, World};

impl World {
    /// Whether `bytes` more may be charged to a node that is charged by hand: worked out anew from all that is charged.
    fn admits(&self, node: usize, bytes: usize) -> bool {
        let held = |place: usize, more: usize| {
            let children = (0..self.nodes.len()).filter(|&child| self.nodes[child].parent == Some(place));
            let below: usize = children.map(|child| self.nodes[child].budget.reserved()).sum();
            (self.own(place) + below).saturating_add(more)
        };
        let (mut place, mut more) = (node, bytes);
        loop {
            let (at, inner) = (&self.nodes[place], held(place, more));
            if inner > at.budget.ceiling() {
                return false;
            }
            more = inner.max(at.floor) - at.budget.reserved();
            match at.parent {
                Some(parent) => place = parent,
                None => return more <= ROOT_BYTES - self.root.reserved(),
            }
        }
    }

    pub(crate) fn charges(&mut self, op: Op) {
        let count = self.charges.len();
        match op {
            Op::Reserve { node, size } => {
                let node = pick(node, self.nodes.len());
                let is_admitted = self.admits(node, size.bytes());
                let answer = self.nodes[node].budget.reserve(size.bytes());
                assert_eq!(answer.is_ok(), is_admitted, "{answer:?}");
                if let Ok(charge) = answer {
                    self.charges.push((node, charge));
                }
            }
            _ if count == 0 => {}
            Op::Resize { charge, size } => {
                let (node, before) = {
                    let (node, charge) = &self.charges[pick(charge, count)];
                    (*node, charge.bytes())
                };
                let is_admitted = size.bytes() <= before || self.admits(node, size.bytes() - before);
                let charge = &mut self.charges[pick(charge, count)].1;
                assert_eq!(charge.resize(size.bytes()).is_ok(), is_admitted);
                assert_eq!(charge.bytes(), if is_admitted { size.bytes() } else { before });
            }
            Op::Transfer { from, to, part } => self.transfer(pick(from, count), pick(to, count), part),
            Op::Release { charge } => drop(self.charges.swap_remove(pick(charge, count))),
            _ => {}
        }
    }

    fn transfer(&mut self, from: usize, to: usize, part: u8) {
        if from == to {
            return;
        }
        let sum = self.charges[from].1.bytes() + self.charges[to].1.bytes();
        let bytes = self.charges[from].1.bytes() * usize::from(part) / 255;
        let surely_admitted =
            self.charges[from].0 == self.charges[to].0 || self.admits(self.charges[to].0, bytes);
        let node = self.charges[from].0;
        let mut source =
            std::mem::replace(&mut self.charges[from].1, Reservation::empty(&self.nodes[node].budget));
        let answer = source.transfer(&mut self.charges[to].1, bytes);
        assert!(answer.is_ok() || !surely_admitted, "{answer:?}");
        self.charges[from].1 = source;
        assert_eq!(self.charges[from].1.bytes() + self.charges[to].1.bytes(), sum);
    }

    pub(crate) fn small_charges(&mut self, op: Op) {
        match op {
            Op::Allot { size } => {
                let (used, free) = (self.allowance.used(), self.free(&self.allowance_node));
                let drawn = self.allowance_node.used();
                let answer = self.allowance.take(size.bytes());
                let need = used.saturating_add(size.bytes());
                assert_eq!(answer.is_ok(), need <= drawn || need - drawn <= free, "{answer:?}");
                self.allotments.extend(answer);
            }
            Op::Unallot => drop(self.allotments.pop()),
            Op::Settle => {
                let before = self.allowance_node.used();
                let returned = self.allowance.settle();
                let after = self.allowance_node.used();
                assert_eq!(
                    (before - after, after),
                    (returned, self.allowance.used().next_multiple_of(4096).min(before))
                );
            }
            Op::Shrink { size } => {
                let before = self.root.used();
                let freed = self.root.please_shrink(size.bytes());
                assert_eq!(before - self.root.used(), freed);
                assert!(freed >= size.bytes() || self.chunks.idle_bytes() == 0);
            }
            _ => {}
        }
    }

    pub(crate) fn requests(&mut self, op: Op) {
        match op {
            Op::Scratch { size } => {
                self.end_request();
                let (bytes, free) = (size.bytes(), self.free(&self.scratch_node));
                match self.scratches.take(bytes) {
                    Ok(scratch) => {
                        assert!(bytes <= self.scratches.bytes_max() && scratch.bytes_left() >= bytes);
                        self.scratch = Some(scratch);
                        self.requests += 1;
                        self.model.begin(self.requests, Home::Request, None);
                    }
                    Err(AllocError::TooLarge { max, .. }) => assert!(bytes > max),
                    Err(error) => {
                        assert!(matches!(error, AllocError::BudgetExceeded { .. }), "{error}");
                        assert!(free < bytes.max(64 << 10).next_power_of_two() + 256, "{error}");
                    }
                }
            }
            Op::ScratchSlice { size } => {
                let Some(scratch) = &self.scratch else { return };
                let seed = self.model.next_seed();
                let source = pattern(seed, size.bytes().min(300_000));
                let left = scratch.bytes_left();
                match scratch.try_alloc_slice_copy(&source) {
                    Ok(slice) => self.model.allocated(self.requests, Memory::of(slice), 1, seed),
                    Err(AllocError::Exhausted { .. } | AllocError::BudgetExceeded { .. }) => {
                        assert!(source.len() > left);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::ResetScratch => {
                let Some(scratch) = &mut self.scratch else { return };
                self.model.let_go(self.requests);
                scratch.reset();
                self.requests += 1;
                self.model.begin(self.requests, Home::Request, None);
            }
            _ => self.end_request(),
        }
    }
}
